"""Pictures and archives: raw pixels, PNG files, tar archives."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib

from tests.fuzz.pieces import Pieces, in_pieces
from tests.fuzz.target import Target, bytes_target
from tests.support.qfilestream import events
from vminterface.errors import VMInterfaceError
from vminterface.values.image import ICON, Image, Limits
from vminterface.vm.handlers.display import pictures, pngdecode
from vminterface.vm.handlers.files.archive import Conversion
from vminterface.wire.qfile import Unpacker

_SMALL = Limits(64, 64)
_BLOCK = 512
_SUM = slice(148, 156)


def _image_holds(image: Image) -> None:
    assert Image.parse(image.render()) == image
    assert pngdecode.decode(image.to_png(), ICON) == image


def _png(data: bytes) -> Image:
    """Decode a file, or where the first byte is odd one that is made of pieces: checksums cannot be guessed.

    The first piece is the header, the next the filtered rows, the others are chunks, each with its kind.
    """
    pieces = Pieces(data)
    if not pieces.byte() % 2:
        return pngdecode.decode(pieces.rest(), _SMALL)
    chunks = [b"IHDR" + pieces.piece(), b"IDAT" + zlib.compress(pieces.piece(), 1), *pieces.pieces()]
    chunks.insert(len(chunks) - 1, chunks.pop(1))
    return pngdecode.decode(pngdecode.SIGNATURE + b"".join(map(_chunk, [*chunks, b"IEND"])), _SMALL)


def _chunk(content: bytes) -> bytes:
    content = content.ljust(4, b"\0")
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))


def _png_seed(width: int, height: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    return b"\1" + in_pieces([struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0), rows, *extra])


def _png_holds(image: Image) -> None:
    assert 1 <= image.width <= 64 >= image.height >= 1
    assert pngdecode.decode(image.to_png(), _SMALL) == image


def _tar(data: bytes) -> bytes:
    """Convert an archive, whose headers get their right checksums; the first byte says how it is read."""
    kind = data[0] if data else 0
    archive = bytearray(data[1:])
    at = 0
    while at + _BLOCK <= len(archive):
        header = archive[at : at + _BLOCK]
        if header.strip(b"\0") and not kind & 4:
            header[_SUM] = b" " * 8
            header[_SUM] = b"%06o\0 " % sum(header)
            archive[at : at + _BLOCK] = header
        try:
            size = int(header[124:135].strip(b"\0 ") or b"0", 8)
        except ValueError:
            size = 0
        at += _BLOCK * (1 + min(64, max(0, -(-size // _BLOCK))))
    desired = [b"a", b"dir/"] if kind & 2 else []
    conversion = Conversion(io.BytesIO(bytes(archive)), desired, seekable=not kind & 1)
    stream = b"".join(conversion.chunks())
    assert zlib.crc32(stream) == conversion.packer.crc
    return stream


def _tar_holds(stream: bytes) -> None:
    unpacker = Unpacker()
    events(unpacker, [stream])
    assert unpacker.ended


def _archive(*members: tuple[str, bytes, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form, bufsize=_BLOCK) as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.type = len(content), kind
            archive.addfile(member, io.BytesIO(content))
    # Without the empty blocks that fill it up to 10 kB.
    return target.getvalue().rstrip(b"\0").ljust(3 * _BLOCK, b"\0")


def _sized(size: int) -> bytes:
    """Return the header alone of a member of that size."""
    member = tarfile.TarInfo("x")
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


_REG, _DIR, _LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE
_LONG = "x" * 120

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "values.image", Image.parse, bytes.fromhex("322031 0a ff0000ff00ff0080"), b"2  1\n", b"0 1\n", b"2049 1\n",
        b"02 1\n" + bytes(9),
        b"1 1\nabc", b"00000002 1\n", b"2048 2048\n", holds=_image_holds, words="1 2 8",
    ),
    bytes_target(
        "vm.png", _png, b"\0" + Image(2, 1, bytes(range(8))).to_png(), b"\0x", b"\0" + pngdecode.SIGNATURE,
        _png_seed(2, 2, 6, b"\4" + bytes(range(8)) + b"\3" + bytes(range(8))),
        _png_seed(2, 1, 0, b"\1\5\6", b"tRNS\0\5"),
        _png_seed(2, 2, 2, b"\2abcdef\0ghijkl", b"tRNS\0a\0b\0c"),
        _png_seed(2, 1, 3, b"\0\0\1", b"PLTEabcdef", b"tRNS\7"),
        _png_seed(2, 1, 4, b"\0abcd"), _png_seed(1, 1, 3, b"\0\2", b"PLTEabc"), _png_seed(1, 1, 5, b"\0"),
        _png_seed(0, 1, 0, b""),
        _png_seed(9, 9, 0, b"\0"), _png_seed(1, 1, 0, b"\5a"), b"\1\0\0", b"\1" + in_pieces([b"x"]), holds=_png_holds,
        words="IHDR IDAT PLTE tRNS IEND",
    ),
    bytes_target("vm.pictureform", pictures.form, *(start + b"WEBPWEBP" for _, start in pictures._FORMS),
        b"RIFF\0\0\0\0WEBP",
        b" <svg/>", b"\xef\xbb\xbf<?xml?><svg>", b"<?xml?>", b"", words="<svg <?xml <!-- <!DOCTYPE svg"),
    bytes_target(
        "vm.tar", _tar, b"\0" + _archive(("a", _REG, b"hi\n"), ("dir/b", _REG, b"")),
        b"\1" + _archive(("dir", _DIR, b""), ("dir/x", _REG, b"y")),
        b"\2" + _archive(("z", _REG, b"1"), ("a", _REG, b""), ("dir/c", _REG, b"2"), ("e", _REG, b"")),
        b"\0" + _archive(("l", _LNK, b"")),
        b"\0" + _archive((_LONG, _REG, b"hi")), b"\1" + _archive((_LONG, _REG, b"hi"), form=tarfile.PAX_FORMAT),
        b"\4" + bytes(1024), b"",
        b"\0" + _archive(("../a", _REG, b"")), b"\0" + _archive(("s", tarfile.GNUTYPE_SPARSE, b"")),
        b"\0" + _archive(("g", tarfile.XGLTYPE, b"")),
        b"\0" + _archive(("x", tarfile.XHDTYPE, b"30 mtime=1438359043.123456789\n"), ("é", _REG, b"x")),
        b"\4" + b"x" * 512, b"\3" + _sized(1 << 60), b"\2" + _sized(1 << 80), b"\1" + _sized(1 << 40),
        holds=_tar_holds, words="ustar path= size= mtime= GNU.sparse.major=1 GNU.sparse.name=", input_max=6144,
        errors=(VMInterfaceError,),
    ),
)  # fmt: skip
