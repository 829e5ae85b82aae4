"""QubesDB daemons for tests: the lab's, which stands for the real pair of programs, as processes of their own.

Debian has no package of the real ``qubesdb-daemon``. The lab's daemon does on the wire what the real one was seen
to do, its refusals and its closing of connections included.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from vminterface.channel.qubesdb import QubesDB

PROJECT = Path(__file__).resolve().parents[2]


class Daemons:
    """One process with the pairs of *vms*; dom0's sockets are in *folder*, each VM's own in ``folder/VM``."""

    def __init__(self, folder: Path, *vms: str) -> None:
        self.folder = folder
        self.vms = vms
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start with empty stores, and wait until all sockets are there."""
        words = [str(self.folder), *(f"{vm}={self.folder / vm}" for vm in self.vms)]
        paths = os.pathsep.join([str(PROJECT), str(PROJECT / "_utils")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lab.qubesdb", *words],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        with self.process.stdout:
            assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        """End the process; its sockets stay, as those of a VM that was killed."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The process does nothing meanwhile, as a daemon that hangs."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if self.process is not None:
                self.signal(signal.SIGCONT)

    def dom0(self, vm: str, timeout: float = 5.0) -> QubesDB:
        """A new connection of dom0 to the QubesDB of *vm*."""
        return QubesDB.open(vm, timeout, folder=str(self.folder))

    def guest(self, vm: str, timeout: float = 5.0) -> QubesDB:
        """A new connection from inside *vm*."""
        return QubesDB.open(None, timeout, folder=str(self.folder / vm))
