"""Builds qfile streams entry by entry, correct ones and ones that no sender makes, and takes their events."""

from __future__ import annotations

import itertools
import stat
import struct
from collections.abc import Iterable

from vminterface.wire.qfile import Data, EntryEnd, EntryStart, Event, Unpacker

TIME_NS = 1_438_359_043_000_000_000
END = bytes(32)


def raw(
    name: bytes,
    mode: int,
    data: bytes = b"",
    *,
    size: int | None = None,
    name_length: int | None = None,
    nanoseconds: int = 0,
) -> bytes:
    """Return one entry exactly as told: *name* with its NUL if *name_length* is not given."""
    if name_length is None:
        name += b"\0"
        name_length = len(name)
    seconds = TIME_NS // 10**9
    length = len(data) if size is None else size
    return struct.pack("<IIQIIII", name_length, mode, length, seconds, nanoseconds, seconds, 0) + name + data


def file(name: bytes, data: bytes = b"", permissions: int = 0o644) -> bytes:
    return raw(name, stat.S_IFREG | permissions, data)


def folder(name: bytes, permissions: int = 0o755) -> bytes:
    return raw(name, stat.S_IFDIR | permissions)


def link(name: bytes, target: bytes) -> bytes:
    return raw(name, stat.S_IFLNK | 0o777, target)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """Return *data* cut at *places*, without empty pieces."""
    edges = sorted({0, len(data), *(p for p in places if 0 < p < len(data))})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def events(
    unpacker: Unpacker,
    pieces: Iterable[bytes],
    found: list[Event | bytes] | None = None,
    *,
    whole_files: bool = False,
) -> list[Event | bytes]:
    """Return all events, the content of each file as one bytes object; *found* has those before a refusal.

    *whole_files*: those that have come whole are taken in one step, and given as the events that they stand for.
    """
    found = [] if found is None else found
    for piece in pieces:
        unpacker.receive_data(piece)
        while True:
            while whole_files and (one := unpacker.next_file()) is not None:
                size = len(one.content)
                found.append(EntryStart(one.path, one.mode, size, one.atime_ns, one.mtime_ns))
                found += [bytes(one.content), EntryEnd()] if size else [EntryEnd()]
            if (event := unpacker.next_event()) is None:
                break
            if not isinstance(event, Data):
                found.append(event)
            elif found and isinstance(found[-1], bytes):
                found[-1] += bytes(event.chunk)
            else:
                found.append(bytes(event.chunk))
    return found
