"""As much of an X client as it takes to draw on the root window and to read it back (X Window System Protocol 11)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Self

from vminterface.errors import RemoteProtocolError
from vminterface.values.image import Image

_SECONDS = 20.0
#: Rectangles in one request, whose length has 16 bits.
_RECTANGLES = 4000
_FOREGROUND, _BACKGROUND, _FONT = 4, 8, 0x4000
_PIXELS = 2
#: A letter of the font that every server has built in.
_LETTER = (6, 13)
_ASCENT = 11

Rectangle = tuple[int, int, int, int]


class Display:
    """A connection to the server whose socket is *path*; pixels are numbers ``0xRRGGBB``."""

    def __init__(self, path: str = "/tmp/.X11-unix/X0") -> None:
        self._stream = socket.socket(socket.AF_UNIX)
        self._stream.settimeout(_SECONDS)
        self._stream.connect(path)
        self._stream.sendall(struct.pack("<BxHHHHxx", ord("l"), 11, 0, 0, 0))
        status, _, _, _, length = struct.unpack("<BBHHH", self._receive(8))
        told = self._receive(4 * length)
        if status != 1:
            raise RemoteProtocolError(f"the X server at {path} takes no client")
        _, base, _, _, vendor, _, _, formats = struct.unpack_from("<IIIIHHBB", told)
        self._next: int = base
        (root,) = struct.unpack_from("<I", told, 32 + (vendor + 3 & ~3) + 8 * formats)
        self.root: int = root
        font, self._gc = self._new(), self._new()
        name = b"fixed"
        self._send(45, 0, struct.pack("<IHxx", font, len(name)) + name)
        mask = _FOREGROUND | _BACKGROUND | _FONT
        self._send(55, 0, struct.pack("<IIIIII", self._gc, self.root, mask, 0xFFFFFF, 0, font))

    def fill(self, colour: int, rectangles: Sequence[Rectangle], drawable: int | None = None) -> None:
        """Fill *rectangles* (x, y, width, height) of the root window."""
        self._send(56, 0, struct.pack("<III", self._gc, _FOREGROUND, colour))
        for start in range(0, len(rectangles), _RECTANGLES):
            some = b"".join(struct.pack("<hhHH", *one) for one in rectangles[start : start + _RECTANGLES])
            self._send(70, 0, struct.pack("<II", drawable or self.root, self._gc) + some)

    def text(self, colour: int, middle: tuple[int, int], scale: int, text: str) -> None:
        """Write *text*, ASCII, around *middle*, each of the font's dots *scale* by *scale* pixels."""
        width, height = _LETTER[0] * len(text), _LETTER[1]
        pixmap = self._new()
        self._send(53, 24, struct.pack("<IIHH", pixmap, self.root, width, height))
        self.fill(0, [(0, 0, width, height)], pixmap)
        self._send(56, 0, struct.pack("<III", self._gc, _FOREGROUND, 0xFFFFFF))
        data = text.encode("ascii")
        self._send(76, len(data), struct.pack("<IIhh", pixmap, self._gc, 0, _ASCENT) + data)
        dots = self.pixels(pixmap, width, height)
        left, top = middle[0] - width * scale // 2, middle[1] - height * scale // 2
        places = (divmod(number, width) for number in range(width * height) if dots[4 * number])
        self.fill(colour, [(left + x * scale, top + y * scale, scale, scale) for y, x in places])

    def size(self) -> tuple[int, int]:
        """Return width and height of the root window."""
        reply = self._ask(14, 0, struct.pack("<I", self.root))
        width, height = struct.unpack_from("<HH", reply, 16)
        return width, height

    def pixels(self, drawable: int, width: int, height: int) -> bytes:
        """Return the pixels of *drawable*, 4 bytes each: blue, green, red, and one that means nothing."""
        data = self._ask(73, _PIXELS, struct.pack("<IhhHHI", drawable, 0, 0, width, height, 0xFFFFFFFF))[32:]
        if len(data) != 4 * width * height:
            raise RemoteProtocolError("the X server's pixels have not 4 bytes each")
        return data

    def picture(self) -> Image:
        """Return all that the screen shows."""
        width, height = self.size()
        data = self.pixels(self.root, width, height)
        rgba = bytearray(b"\xff") * len(data)
        rgba[0::4], rgba[1::4], rgba[2::4] = data[2::4], data[1::4], data[0::4]
        return Image(width, height, bytes(rgba))

    def _new(self) -> int:
        self._next += 1
        return self._next

    def _send(self, opcode: int, detail: int, body: bytes) -> None:
        body += bytes(-len(body) % 4)
        self._stream.sendall(struct.pack("<BBH", opcode, detail, 1 + len(body) // 4) + body)

    def _ask(self, opcode: int, detail: int, body: bytes) -> bytes:
        self._send(opcode, detail, body)
        while True:
            head = self._receive(32)
            if head[0] == 0:
                raise RemoteProtocolError(f"the X server refuses request {head[10]}: error {head[1]}")
            if head[0] == 1:
                (length,) = struct.unpack_from("<I", head, 4)
                return head + self._receive(4 * length)

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = self._stream.recv(min(size - len(data), 1 << 20))
            if not piece:
                raise RemoteProtocolError("the X server has ended the connection")
            data += piece
        return bytes(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()
