"""Reads a stream ahead of who uses it: the next block is fetched, and its checksum taken, while the last is written.

One thread reads; system calls and the checksum of a large block leave the other one free to work on another processor.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import select
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

from vminterface.wire.crc32 import crc32

#: Bytes read at once, and blocks in memory: one in use, one that is whole, one being read.
BLOCK, BLOCKS = 1 << 20, 3


class Block(NamedTuple):
    """The next bytes of the stream, valid until the next block is taken, and the CRC-32 of all up to their end."""

    data: memoryview
    crc: int


class ReadAhead:
    """The blocks of what comes from the descriptor *source*, an empty one for its end.

    *idle_timeout*: seconds without a byte after which TimeoutError is raised. OSError of the system is raised as it is.
    Leaving the context ends the reading at once; *source* stays open.
    """

    def __init__(self, source: int, idle_timeout: float) -> None:
        self._source, self._idle_timeout = source, idle_timeout
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._read: SimpleQueue[tuple[memoryview, Block] | Exception] = SimpleQueue()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="read ahead")

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._source, fcntl.F_SETPIPE_SZ, BLOCK)
        for _ in range(BLOCKS):
            # At the beginning of a page, from where the kernel copies faster.
            self._free.put(memoryview(mmap.mmap(-1, BLOCK)))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        os.eventfd_write(self._stop, 1)
        self._free.put(None)
        self._thread.join()
        os.close(self._stop)

    def __iter__(self) -> Iterator[Block]:
        while True:
            read = self._read.get()
            if isinstance(read, Exception):
                raise read
            buffer, block = read
            yield block
            if not block.data:
                return
            self._free.put(buffer)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        crc = 0
        try:
            while (buffer := self._free.get()) is not None:
                ready = dict(poll.poll(self._idle_timeout * 1000))
                if self._stop in ready:
                    return
                if not ready:
                    raise TimeoutError(errno.ETIMEDOUT, f"nothing came for {self._idle_timeout:g} s")
                data = buffer[: os.readv(self._source, [buffer])]
                crc = crc32(data, crc)
                self._read.put((buffer, Block(data, crc)))
                if not data:
                    return
        except Exception as error:  # whatever it is: it is raised where the next block is awaited
            self._read.put(error)
