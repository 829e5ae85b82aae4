"""The QubesDB daemons of one VM as a process: dom0's and the VM's, new ones for each start of the VM."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.linux.namespaces import DIE_WITH_PARENT
from lab.paths import PROJECT
from vminterface.channel.interruptions import Held
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost

_START_SECONDS = 10.0


class QubesDBPair:
    """dom0 finds its side in *dom0_folder*, the VM *name* its own in *vm_folder*."""

    def __init__(self, name: str, dom0_folder: Path, vm_folder: Path) -> None:
        self.name = name
        self._folders = dom0_folder, vm_folder
        self._process: subprocess.Popen[bytes] | None = None
        self._store: QubesDB | None = None

    @property
    def store(self) -> QubesDB:
        """dom0's connection. Raises ConnectionLost."""
        if self._store is None or self._store.closed:
            self._store = QubesDB.open(self.name, folder=str(self._folders[0]))
        return self._store

    def start(self) -> None:
        """Start both and wait until they listen. Raises ConnectionLost."""
        dom0, inside = self._folders
        paths = os.pathsep.join([str(PROJECT), str(PROJECT / "_utils")])
        with Held():
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, sys.executable, "-m", "lab.qubesdb", str(dom0), f"{self.name}={inside}"],
                env={**os.environ, "PYTHONPATH": paths}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._process.stdout is not None
        with self._process.stdout as said:
            if not select.select([said], [], [], _START_SECONDS)[0] or said.readline() != b"ready\n":
                self.stop()
                raise ConnectionLost(f"the lab's QubesDB of {self.name} did not start")

    def restart_dom0(self) -> None:
        """Start dom0's daemon afresh and wait until it listens: it has no keys, the VM's keeps its own.

        Raises DeadlineExceeded.
        """
        if self._process is None:
            return
        before = self._listens_since()
        deadline = Deadline.after(_START_SECONDS)
        self._process.send_signal(signal.SIGUSR1)
        while self._listens_since() in (None, before):
            deadline.check(f"the lab's QubesDB of {self.name}")
            time.sleep(0.002)

    def _listens_since(self) -> int | None:
        """Return when dom0's daemon made the last of its sockets, if it has."""
        try:
            return (self._folders[0] / f"qubesdb.{self.name}.ro.sock").stat().st_ctime_ns
        except FileNotFoundError:
            return None

    def stop(self) -> None:
        """End both; may be called twice."""
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._process is not None:
            self._process.terminate()  # its sockets go with it
            try:
                self._process.wait(_START_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
