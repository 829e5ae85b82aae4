"""The X server of a VM, from outside: started in the VM, asked for once, ended with the VM."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from vminterface.channel.interruptions import Held
from vminterface.errors import DeadlineExceeded, ProgramFailed, ProgramMissing

_START_SECONDS = 20.0
_END_SECONDS = 5.0


class Screens:
    """What *command* (:mod:`lab.guest.session` in the VM) starts; what it has to say else goes to *log*."""

    def __init__(self, vm: str, command: Sequence[str], log: Path) -> None:
        self.kind = ""
        self._vm, self._command, self._log = vm, command, log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it and wait until it can be used. Raises ProgramMissing, ProgramFailed, DeadlineExceeded."""
        with open(self._log, "ab") as log, Held():
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment, cwd="/"
            )
        assert self._process.stdout is not None
        with self._process.stdout as said:
            ready = select.select([said], [], [], _START_SECONDS)[0]
            word, _, rest = said.readline().decode("utf-8", "replace").strip().partition(" ") if ready else ("", "", "")
        if word == "ready":
            self.kind = rest
            return
        self.end()
        if not ready:
            raise DeadlineExceeded(f"{self._vm}: no X server within {_START_SECONDS:g} s")
        if word == "missing":
            raise ProgramMissing(f"{self._vm}: {rest}")
        raise ProgramFailed(f"{self._vm}: the X server could not be started: {rest or f'see {self._log}'}")

    def end(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
