"""The file of the VMs' locks in memory: ranges that belong to an open file, and are free when it is closed."""

from __future__ import annotations

from tests.simulation.scheduler import Process
from vminterface.dom0.push.lockfile import LockFile
from vminterface.dom0.push.locks import VMLocks


class Times:
    """When one push has taken and released the lock of each VM; a watcher has several pushes under way."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        self.released: dict[str, float] = {}


class Locks:
    """The one file of a host."""

    def __init__(self) -> None:
        self.data = bytearray()
        #: Who has which range, by its start.
        self.held: dict[int, _File] = {}

    def open(self, process: Process, times: Times | None = None) -> VMLocks:
        """Open it for *process*, whose end closes it; *times* gets when it takes and releases locks."""
        file = _File(self, process, times or Times())
        process.at_end.append(file.close)
        return VMLocks(file=file)

    @property
    def free(self) -> bool:
        """Whether nobody has a lock, or waits for one."""
        return not self.held


class _File(LockFile):
    def __init__(self, locks: Locks, process: Process, times: Times) -> None:
        self.path = "/run/vminterface/vms.lock"
        self._locks, self._process, self._times = locks, process, times
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._locks.held = {start: file for start, file in self._locks.held.items() if file is not self}
        if self.close in self._process.at_end:
            self._process.at_end.remove(self.close)

    def lock(self, start: int, length: int) -> bool:
        if start in self._locks.held:
            return self._locks.held[start] is self
        self._locks.held[start] = self
        self._note(self._times.taken, start, length)
        return True

    def unlock(self, start: int, length: int) -> None:
        if self._locks.held.get(start) is self:
            del self._locks.held[start]
            self._note(self._times.released, start, length)

    def _note(self, times: dict[str, float], start: int, length: int) -> None:
        """Note when the range that is the lock of a VM was taken or released."""
        if length > 1 and start:
            times[self.read(length, start).split()[0].decode()] = self._process.world.now

    def size(self) -> int:
        return len(self._locks.data)

    def read(self, size: int, start: int) -> bytes:
        return bytes(self._locks.data[start : start + size])

    def write(self, data: bytes, start: int) -> None:
        self._locks.data.extend(b"\0" * (start - len(self._locks.data)))
        self._locks.data[start : start + len(data)] = data

    def holder(self) -> str:
        return f"1 1970-01-01T00:00:00 {self._process.name}"
