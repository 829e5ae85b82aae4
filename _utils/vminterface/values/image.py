"""Pictures as VMs send them: ``W H`` in a line, then raw pixels, rows from the top, R G B A, 8 bits each.

Source: Qubes linux-utils ``qubesimgconverter`` (receiver, limits) and core-agent-linux ``qubes.GetImageRGBA``. A
picture from a VM is never decoded in dom0: raw pixels are checked by counting, and packed again here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

_HEADER = regex(rb"([0-9]+) ([0-9]+)\n", re.ASCII)
_CHANNELS = 4
#: Bytes of pixels that become a part of a PNG file at once.
_PNG_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest picture to take, in pixels."""

    width: int
    height: int

    @property
    def header_size(self) -> int:
        """Bytes of the longest first line."""
        return len(f"{self.width} {self.height}\n")

    @property
    def reply_size(self) -> int:
        """Bytes of the longest answer: what to read at most."""
        return self.header_size + self.width * self.height * _CHANNELS


ICON = Limits(2048, 2048)
PICTURE = Limits(8192, 5120)


@dataclass(frozen=True, slots=True)
class Image:
    """*width* by *height* pixels; *rgba* has 4 bytes for each. Raises InvalidValue."""

    width: int
    height: int
    rgba: bytes

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or len(self.rgba) != self.width * self.height * _CHANNELS:
            raise InvalidValue(f"{len(self.rgba)} bytes are not a picture of {self.width} by {self.height} pixels")

    @classmethod
    def parse(cls, untrusted_reply: bytes, limits: Limits = ICON) -> Image:
        """Read what ``qubes.GetImageRGBA`` answers. Bytes behind the last pixel are ignored.

        Raises InvalidValue.
        """
        shown = _HEADER.match(untrusted_reply[: limits.header_size])
        if not shown:
            raise InvalidValue(
                f"'{printable(untrusted_reply[: limits.header_size], 60)}' does not begin a picture"
                f" (expected 'WIDTH HEIGHT' and a line's end in {limits.header_size} bytes)"
            )
        width, height = int(shown[1]), int(shown[2])
        if not (1 <= width <= limits.width and 1 <= height <= limits.height):
            raise InvalidValue(
                f"a picture of {width} by {height} pixels (expected 1 to {limits.width} by 1 to {limits.height})"
            )
        size = width * height * _CHANNELS
        rgba = untrusted_reply[shown.end() : shown.end() + size]
        if len(rgba) < size:
            raise InvalidValue(f"a picture of {width} by {height} pixels has {len(rgba)} bytes (expected {size})")
        return cls(width, height, rgba)

    def render(self) -> bytes:
        """Return the picture as ``qubes.GetImageRGBA`` answers it."""
        return f"{self.width} {self.height}\n".encode("ascii") + self.rgba

    def to_png(self) -> bytes:
        """Return the picture as a PNG file."""
        return b"".join(self.png())

    def png(self) -> Iterator[bytes]:
        """Yield the picture as a PNG file (ISO/IEC 15948) in pieces of some rows, so that it takes little memory."""
        row = self.width * _CHANNELS
        # 8 bits a channel, colour type 6 (RGBA), the only compression, filter method and no interlace.
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 6, 0, 0, 0)
        yield b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
        compressor = zlib.compressobj()
        pixels = memoryview(self.rgba)
        block = row * max(1, _PNG_BLOCK // row)
        for start in range(0, len(pixels), block):
            some = pixels[start : start + block]
            # Each row begins with its filter's number, 0 for none.
            rows = b"".join(b"\0" + some[at : at + row] for at in range(0, len(some), row))
            if data := compressor.compress(rows):
                yield _chunk(b"IDAT", data)
        yield _chunk(b"IDAT", compressor.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
