"""PNG files into plain RGBA pixels with the standard library alone, for VMs that have no program for pictures.

Source: ISO/IEC 15948 (PNG 1.2). Taken: 8 bits a channel, every colour type, no interlace, which is what icons are.
"""

from __future__ import annotations

import struct
import zlib

from vminterface.errors import InvalidValue
from vminterface.values.image import Image, Limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
#: Bytes of a pixel by colour type: grey, RGB, palette, grey with alpha, RGBA.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def decode(data: bytes, limits: Limits) -> Image:
    """Return the picture. Raises InvalidValue: no PNG of a form that is taken here, damaged, or over *limits*."""
    chunks = _chunks(data)
    if len(chunks.get(b"IHDR", b"")) != _HEADER.size:
        raise InvalidValue("the PNG file has no header")
    width, height, depth, colour, compression, filtering, interlace = _HEADER.unpack(chunks[b"IHDR"])
    if not (1 <= width <= limits.width and 1 <= height <= limits.height):
        shown = f"expected 1 to {limits.width} by 1 to {limits.height}"
        raise InvalidValue(f"the PNG file is a picture of {width} by {height} pixels ({shown})")
    if depth != 8 or colour not in _CHANNELS or compression or filtering or interlace:
        raise InvalidValue("the PNG file has a format that needs an image program (expected 8 bits per channel)")
    size = _CHANNELS[colour]
    rows = _rows(_inflate(chunks.get(b"IDAT", b""), height * (1 + width * size)), width * size, size)
    return Image(width, height, _rgba(rows, colour, chunks.get(b"PLTE", b""), chunks.get(b"tRNS", b"")))


def _chunks(data: bytes) -> dict[bytes, bytes]:
    """Return the content of each kind of chunk; pieces of one kind are joined, as IDAT's are meant to be."""
    if not data.startswith(SIGNATURE):
        raise InvalidValue("not a PNG file")
    pieces: dict[bytes, list[bytes]] = {}
    place = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[place : place + 8].ljust(8, b"\0"))
        content = data[place + 8 : place + 8 + length]
        check = data[place + 8 + length : place + 12 + length]
        if check != struct.pack(">I", zlib.crc32(kind + content)):
            raise InvalidValue("the PNG file is damaged")
        pieces.setdefault(kind, []).append(content)
        place += 12 + length
    return {kind: b"".join(parts) for kind, parts in pieces.items()}


def _inflate(packed: bytes, size: int) -> bytes:
    try:
        data = zlib.decompressobj().decompress(packed, size)
    except zlib.error:
        raise InvalidValue("the PNG file is damaged") from None
    if len(data) < size:
        raise InvalidValue("the PNG file is cut short")
    return data


def _rows(data: bytes, length: int, step: int) -> bytearray:
    """Undo the filters and return the rows without their filters' numbers; *step* is the size of a pixel."""
    result = bytearray()
    above = bytearray(length)
    for start in range(0, len(data), length + 1):
        row = bytearray(data[start + 1 : start + 1 + length])
        _unfilter(data[start], row, above, step)
        result += row
        above = row
    return result


def _unfilter(kind: int, row: bytearray, above: bytearray, step: int) -> None:
    if kind == 1:
        for place in range(step, len(row)):
            row[place] = (row[place] + row[place - step]) & 255
    elif kind == 2:
        row[:] = bytes((value + up) & 255 for value, up in zip(row, above, strict=True))
    elif kind == 3:
        for place, up in enumerate(above):
            left = row[place - step] if place >= step else 0
            row[place] = (row[place] + (left + up) // 2) & 255
    elif kind == 4:
        for place, up in enumerate(above):
            left, corner = (row[place - step], above[place - step]) if place >= step else (0, 0)
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            nearest = left if to_left <= to_up and to_left <= to_corner else up if to_up <= to_corner else corner
            row[place] = (row[place] + nearest) & 255
    elif kind != 0:
        raise InvalidValue("the PNG file has an unknown filter")


def _rgba(rows: bytearray, colour: int, palette: bytes, clear: bytes) -> bytes:
    """Return the pixels as R G B A; *clear* is the transparent colour, or the palette's alpha."""
    if colour == 6:
        return bytes(rows)
    count = len(rows) // _CHANNELS[colour]
    rgba = bytearray(b"\xff") * (4 * count)
    if colour == 3:
        if not rows or max(rows) >= len(palette) // 3:
            raise InvalidValue("the PNG file uses colours outside its palette")
        for channel in range(3):
            rgba[channel::4] = rows.translate(palette[channel::3].ljust(256, b"\0")[:256])
        rgba[3::4] = rows.translate(clear.ljust(256, b"\xff")[:256])
        return bytes(rgba)
    step = _CHANNELS[colour]
    for channel in range(3):
        rgba[channel::4] = rows[channel if colour == 2 else 0 :: step]
    if colour == 4:
        rgba[3::4] = rows[1::2]
    elif len(clear) == 2 * step:
        # Samples of 16 bits, whatever the depth of the picture.
        transparent = bytes(clear[1::2]) * (3 // step)
        for place in range(0, len(rgba), 4):
            if rgba[place : place + 3] == transparent:
                rgba[place + 3] = 0
    return bytes(rgba)
