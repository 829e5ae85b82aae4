"""The qfile format read and written once more, by nothing but Python's own ``struct`` and ``zlib``.

It is what ``libqubes-rpc-filecopy`` says of the format, in as few lines as that takes, and shares no line with
``vminterface.wire``: what both get right, or wrong, is not so because one was made from the other.

``struct file_header { u32 namelen, mode; u64 filelen; u32 atime, atime_nsec, mtime, mtime_nsec; }``, the name with its
NUL (which namelen counts), then filelen bytes: of a file its content, of a link its target. A namelen of 0 ends it.
``struct result_header { u32 error_code, _pad; u64 crc32; }``, ``struct result_header_ext { u32 last_namelen; char
last_name[]; }``.
"""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

HEADER = "<IIQIIII"
NS = 10**9


@dataclass(frozen=True)
class Member:
    """One file, folder or link. *data*: content or target. Times in nanoseconds; a link's are not sent."""

    path: bytes
    mode: int
    data: bytes = b""
    mtime_ns: int = 0


def write(members: list[Member]) -> bytes:
    """Return the stream of *members*; a folder is among them before and after what is in it."""
    stream = b""
    for one in members:
        seconds, ns = divmod(one.mtime_ns, NS)
        size = 0 if stat.S_ISDIR(one.mode) else len(one.data)
        stream += struct.pack(HEADER, len(one.path) + 1, one.mode, size, seconds, ns, seconds, ns)
        stream += one.path + b"\0" + one.data
    return stream + bytes(struct.calcsize(HEADER))


def read(stream: bytes) -> list[Member]:
    """Return what is in *stream*, which must be whole and end with its end entry."""
    source = io.BytesIO(stream)
    found: list[Member] = []
    while True:
        namelen, mode, filelen, _, _, mtime, mtime_ns = struct.unpack(HEADER, source.read(struct.calcsize(HEADER)))
        if namelen == 0:
            assert source.read() == b""
            return found
        name = source.read(namelen)
        assert name[-1:] == b"\0"
        data = source.read(filelen)
        assert len(data) == filelen
        found.append(Member(name[:-1], mode, data, mtime * NS + mtime_ns))


def read_result(reply: bytes) -> tuple[int, int, bytes]:
    """Return the error code, checksum and last name of a receiver's *reply*."""
    code, _, crc, length = struct.unpack_from("<IIQI", reply)
    name = reply[struct.calcsize("<IIQI") :]
    assert len(name) == length
    return code, crc, name


def write_result(code: int, crc: int, name: bytes) -> bytes:
    """Return a receiver's reply."""
    return struct.pack("<IIQI", code, 0, crc, len(name)) + name


def checksum(stream: bytes) -> int:
    """Return what both ends say of *stream*."""
    return zlib.crc32(stream)


def last_of_each(members: list[Member]) -> dict[bytes, Member]:
    """Return the members by path; of a folder, which is there twice, the second, which carries what is to stay."""
    return {one.path: one for one in members}


def on_disk(top: Path, name: bytes) -> dict[bytes, Member]:
    """Return *name* in the folder *top*, with all below it, as the system's calls show it."""
    place = os.path.join(os.fsencode(top), name)
    found = {name: _member(place, name)}
    for folder, folders, files in os.walk(place):
        for each in (*folders, *files):
            path = os.path.join(folder, each)
            relative = os.path.relpath(path, os.fsencode(top))
            found[relative] = _member(path, relative)
    return found


def _member(place: bytes, name: bytes) -> Member:
    there = os.lstat(place)
    if stat.S_ISLNK(there.st_mode):
        return Member(name, there.st_mode, os.readlink(place))
    if stat.S_ISDIR(there.st_mode):
        return Member(name, there.st_mode, b"", there.st_mtime_ns)
    with open(place, "rb") as file:
        return Member(name, there.st_mode, file.read(), there.st_mtime_ns)


_NAMES = ("a", "b c", "é", ".x", "-r", "漢", "x" * 60, "a'b", "Z.tar.gz")
_SIZES = (0, 1, 7, 255, 256, 4096, 70_000)


def random_members(chance: random.Random, path: bytes, depth: int = 0) -> list[Member]:
    """Return a random tree below *path*, as a sender sends it; the one at the top is a folder."""
    mtime = chance.randrange(1, 2**31) * NS + chance.randrange(NS)
    kind = chance.random() if depth else 1.0
    if kind < 0.5:
        mode = stat.S_IFREG | chance.choice([0o644, 0o600, 0o755, 0o444])
        return [Member(path, mode, chance.randbytes(chance.choice(_SIZES)), mtime)]
    if kind < 0.65:
        return [Member(path, stat.S_IFLNK | 0o777, chance.choice([b"a", b"b c/a", b"./x", "é".encode()]))]
    folder = Member(path, stat.S_IFDIR | chance.choice([0o755, 0o700, 0o750]), b"", mtime)
    names = chance.sample(_NAMES, chance.randint(0, 4)) if depth < 4 else []
    below = [member for name in names for member in random_members(chance, path + b"/" + name.encode(), depth + 1)]
    return [folder, *below, folder]


def make(top: Path, members: list[Member]) -> None:
    """Make files, folders and links of *members* in the folder *top*."""
    for one in members:
        place = os.path.join(os.fsencode(top), one.path)
        if stat.S_ISLNK(one.mode):
            os.symlink(one.data, place)
            continue
        if stat.S_ISDIR(one.mode):
            os.makedirs(place, exist_ok=True)
        else:
            with open(place, "wb") as file:
                file.write(one.data)
        os.chmod(place, stat.S_IMODE(one.mode))
        os.utime(place, ns=(one.mtime_ns, one.mtime_ns))
