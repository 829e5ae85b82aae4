"""The messages of a call's data channel: what it is for, then pieces of streams, and the exit status.

A message is a kind and a length, both 32 bits, little-endian, and that many bytes. Kinds and form are those of Qubes
core-qrexec's ``libqrexec/qrexec.h``; there a call is asked for on another channel.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

#: Bytes of a message's body.
BODY_MAX = 65536
_HEADER = struct.Struct("<II")


class Kind(IntEnum):
    """What a message brings. An empty piece of a stream is its end; the other way round, nobody reads it any more."""

    COMMAND = 0x200
    STDIN = 0x190
    STDOUT = 0x191
    STDERR = 0x192
    STATUS = 0x193


class BadMessage(Exception):
    """What came is no message."""


def pack(kind: Kind, body: bytes) -> bytes:
    """Return a message."""
    return _HEADER.pack(kind, len(body)) + body


class Parser:
    """Makes messages of the bytes that come."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._data += data

    def messages(self) -> Iterator[tuple[Kind, bytes]]:
        """Yield the messages that are whole. Raises BadMessage; nothing can be made of the bytes after that."""
        while len(self._data) >= _HEADER.size:
            number, length = _HEADER.unpack_from(self._data)
            if number not in Kind.__members__.values() or length > BODY_MAX:
                raise BadMessage(f"no message begins with kind {number:#x} and length {length}")
            end = _HEADER.size + length
            if len(self._data) < end:
                return
            body = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            yield Kind(number), body
