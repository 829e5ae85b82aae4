"""Bytes as what a target needs of them: numbers and pieces one after the other, or plain data as YAML gives it.

Any bytes are some data, so that what an engine changes stays in shape; :func:`packed` is the way back, for seeds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

#: Values and levels of plain data that are read of one input.
_VALUES_MAX, _DEPTH_MAX = 400, 8
_NONE, _TRUE, _FALSE, _INT, _HUGE, _FLOAT, _TEXT, _BYTES, _LIST, _DICT, _SET = range(11)


class Pieces:
    """Takes bytes from the front of *data*; behind its end there are zeros and empty pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes, fewer at the end."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(max(0, len(self._data) - self._at))

    def byte(self) -> int:
        """Return the next byte as a number."""
        return self.take(1)[0] if self else 0

    def number(self, size: int = 4) -> int:
        """Return the next *size* bytes as a number, little-endian."""
        return int.from_bytes(self.take(size), "little")

    def piece(self) -> bytes:
        """Return a piece with its length, 16 bits, before it."""
        return self.take(self.number(2))

    def pieces(self) -> Iterator[bytes]:
        """Yield pieces to the end."""
        while self:
            yield self.piece()


def in_pieces(pieces: Iterable[bytes]) -> bytes:
    """Return the input of which :meth:`Pieces.pieces` are *pieces*."""
    return b"".join(len(piece).to_bytes(2, "little") + piece for piece in pieces)


def pairs(data: bytes) -> dict[str, bytes]:
    """Return the lines ``NAME=VALUE`` of *data*; in values ``\\n`` stands for a line's end."""
    found = {}
    for line in data.split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals:
            found[name.decode("latin-1")] = value.replace(b"\\n", b"\n")
    return found


def text_pairs(data: bytes) -> dict[str, str]:
    """Return what :func:`pairs` does, as text."""
    return {name: value.decode("utf-8", "surrogateescape") for name, value in pairs(data).items()}


def in_pairs(values: dict[str, str]) -> bytes:
    """Return the input of which :func:`text_pairs` are *values*."""
    return "\n".join(f"{name}={value}" for name, value in values.items()).encode("utf-8", "surrogateescape")


def plain(data: bytes) -> Any:
    """Return plain data as YAML has it: numbers of any size, texts, lists, mappings with keys of any kind."""
    pieces = Pieces(data)
    left = [_VALUES_MAX]
    return _plain(pieces, left, _DEPTH_MAX)


def _plain(pieces: Pieces, left: list[int], depth: int) -> Any:
    left[0] -= 1
    kind = pieces.byte() % (_SET + 1)
    if kind in (_LIST, _DICT, _SET):
        count = pieces.byte() if depth else 0
        members = [
            _plain(pieces, left, depth - 1) for _ in range(count * (1 + (kind == _DICT))) if pieces and left[0] > 0
        ]
        if kind == _LIST:
            return members
        if kind == _SET:
            return {member for member in members if _is_hashable(member)}
        return {key: value for key, value in zip(members[::2], members[1::2], strict=False) if _is_hashable(key)}
    return _scalar(kind, pieces)


def _scalar(kind: int, pieces: Pieces) -> Any:
    match kind:
        case 1 | 2:
            return kind == _TRUE
        case 3:
            return int.from_bytes(pieces.take(4), "little", signed=True)
        case 4:
            # More digits than Python writes.
            return (1 << 4 * (pieces.number(2) % 20_000)) * (-1) ** pieces.byte()
        case 5:
            return float(struct.unpack("<d", pieces.take(8).ljust(8, b"\0"))[0])
        case 6:
            return pieces.take(pieces.byte()).decode("utf-8", "surrogateescape")
        case 7:
            return pieces.take(pieces.byte())
    return None


def _is_hashable(value: Any) -> bool:
    return not isinstance(value, list | dict | set)


def packed(value: Any) -> bytes:
    """Return the input of which :func:`plain` makes *value*."""
    match value:
        case None:
            return bytes([_NONE])
        case bool():
            return bytes([_TRUE if value else _FALSE])
        case int():
            return bytes([_INT]) + value.to_bytes(4, "little", signed=True)
        case float():
            return bytes([_FLOAT]) + struct.pack("<d", value)
        case str():
            data = value.encode("utf-8", "surrogateescape")
            return bytes([_TEXT, len(data)]) + data
        case bytes():
            return bytes([_BYTES, len(value)]) + value
        case list() | tuple():
            return bytes([_LIST, len(value)]) + b"".join(map(packed, value))
        case dict():
            members = b"".join(packed(one) for pair in value.items() for one in pair)
            return bytes([_DICT, len(value)]) + members
    raise TypeError(f"{type(value).__name__} is no plain data")
