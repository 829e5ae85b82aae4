"""What the command line and the tests do with a lab: bring it up, ask its supervisor, take it down."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.guest.vm import environment
from lab.linux import processes
from lab.linux.namespaces import Isolation
from lab.paths import PROJECT, LabPaths
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, InvalidValue, ProgramFailed

UP_SECONDS = 60.0
COMMAND_SECONDS = 40.0
_DOWN_SECONDS = 30.0


class Lab:
    """The lab whose state is in *paths*, running or not."""

    def __init__(self, paths: LabPaths | None = None) -> None:
        self.paths = paths or LabPaths.find()

    def up(
        self,
        vms: Path | None = None,
        store: str = "ours",
        seconds: float = UP_SECONDS,
        *,
        release: str = "R2",
        screens: bool = False,
    ) -> dict[str, Any]:
        """Start the supervisor and all VMs; return the status once every agent has announced itself.

        *release* says where dom0 tells a VM its settings; *screens*: each VM gets an X server. Raises InvalidValue
        (there is one already), ProgramFailed, DeadlineExceeded; then nothing is left running.
        """
        if self.paths.control.exists() and self._replies():
            raise InvalidValue(f"the lab in {self.paths.folder} is up already")
        deadline = Deadline.after(seconds)
        self.clean()
        self.paths.folder.mkdir(parents=True, exist_ok=True)
        self.paths.mark.touch()
        try:
            self._start_supervisor(vms, store, release, deadline)
            if screens:
                for vm in self.ask("status")["vms"]:
                    self.ask("screens", vm)
            return self.wait_for_agents(deadline)
        except BaseException:
            self.down()
            raise

    def _start_supervisor(self, vms: Path | None, store: str, release: str, deadline: Deadline) -> None:
        own = str(vms.resolve()) if vms else ""
        words = [sys.executable, "-m", "lab.dom0.supervisor", str(self.paths.folder), own, store, release]
        paths = [str(PROJECT), str(PROJECT / "_utils"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = Isolation.probe().supervisor(words)
        pipe = subprocess.PIPE
        with (
            open(self.paths.log, "ab") as log,
            processes.started(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=log, env=variables) as process,
        ):
            assert process.stdout is not None
            with process.stdout as said:
                if not select.select([said], [], [], deadline.remaining)[0]:
                    raise DeadlineExceeded(f"the lab did not start within {deadline.seconds:g} s")
                word = said.readline().decode("utf-8", "replace").strip()
            if word != "up":
                process.wait(_DOWN_SECONDS)
                raise ProgramFailed(f"the lab could not start: {word or self._last_log_line()}")

    def wait_for_agents(self, deadline: Deadline) -> dict[str, Any]:
        """Return the status once the agent of each running VM has announced itself. Raises DeadlineExceeded."""
        while True:
            status: dict[str, Any] = self.ask("status")
            waiting = [vm for vm, told in status["vms"].items() if told["state"] == "running" and not told["announced"]]
            if not waiting:
                return status
            ended = [f"{vm}: its agent {status['vms'][vm]['agent']}" for vm in waiting
                     if status["vms"][vm]["agent"].startswith("ended")]  # fmt: skip
            if ended:
                raise ProgramFailed("; ".join(ended))
            if deadline.passed:
                raise DeadlineExceeded(
                    f"no agent has announced itself within {deadline.seconds:g} s in {', '.join(waiting)}"
                )
            time.sleep(0.03)

    def ask(self, command: str, name: str = "") -> Any:
        """Let the supervisor do *command*. Raises ConnectionLost (no lab is up), DeadlineExceeded, InvalidValue."""
        reply = b""
        try:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(COMMAND_SECONDS)
                stream.connect(str(self.paths.control))
                stream.sendall(json.dumps([command, name]).encode() + b"\n")
                while data := stream.recv(65536):
                    reply += data
        except TimeoutError:
            raise DeadlineExceeded(
                f"the lab's supervisor: no answer to {command} within {COMMAND_SECONDS:g} s"
            ) from None
        except OSError:
            reply = b""
        if not reply:
            raise ConnectionLost(f"no lab is up in {self.paths.folder} (bring it up with `python -m lab up`)")
        told = json.loads(reply)
        if "error" in told:
            raise InvalidValue(told["error"])
        return told["reply"]

    def command_in(self, vm: str, command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return the command line and the environment that run *command* in *vm*. Raises InvalidValue."""
        status = self.ask("status")
        told = status["vms"].get(vm)
        if told is None or told["state"] in ("stopped", "crashed"):
            raise InvalidValue(f"{vm} is not a running VM of this lab")
        if not status["namespaces"]:
            xenbus = self.paths.store / f"dom{told['domid']}" / "xenbus"
            return list(command), {**environment(str(xenbus)), "LAB_ROOT": told["root"]}
        isolation = Isolation(False, vms=True, network=status["network"])
        return isolation.enter(told["init"], command), environment("/dev/xen/xenbus")

    def environment(self) -> dict[str, str]:
        """Return the variables that programs of dom0 need, with this process's paths behind the lab's own ones."""
        status = self.ask("status")
        found = {
            **status["environment"],
            "PATH": f"{self.paths.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }
        if status["python_path"]:
            others = [path for path in (os.environ.get("PYTHONPATH"),) if path]
            found["PYTHONPATH"] = os.pathsep.join([status["python_path"], *others])
        return found

    def run(self, vm: str, *command: str, timeout: float = 20.0) -> subprocess.CompletedProcess[str]:
        """Run *command* in *vm* and return what it said; its exit status is the caller's to judge."""
        words, variables = self.command_in(vm, command)
        return subprocess.run(
            words, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )

    def down(self, seconds: float = _DOWN_SECONDS) -> None:
        """End everything and remove the lab's folder; fine if it is not up, or if its supervisor was killed.

        *seconds*: what its VMs may take to end, and the folder to be removed. Raises DeadlineExceeded.
        """
        with contextlib.suppress(ConnectionLost, DeadlineExceeded, InvalidValue):
            self.ask("down")
            deadline = Deadline.after(seconds)
            supervisor = next(iter(self._pids()), None)
            while supervisor and processes.start_time(supervisor[0]) == supervisor[1] and not deadline.passed:
                time.sleep(0.02)
        self.clean(seconds)

    def clean(self, seconds: float = _DOWN_SECONDS) -> None:
        """Kill what is left of an earlier lab and remove its folder. Raises InvalidValue where it is not a lab's."""
        if not self.paths.mark.exists():
            if self.paths.folder.exists() and any(self.paths.folder.iterdir()):
                raise InvalidValue(f"{self.paths.folder} has files that are no lab's: nothing was done")
            return
        pids = self._pids()
        for pid, started in pids:
            processes.kill(pid, started)
        deadline = Deadline.after(seconds)
        while any(started is not None and processes.start_time(pid) == started for pid, started in pids):
            if deadline.passed:
                raise DeadlineExceeded(f"processes of the lab in {self.paths.folder} do not end")
            time.sleep(0.02)
        while self.paths.folder.exists():
            # VMs die with their supervisor; they may take a moment to let go of their files.
            shutil.rmtree(self.paths.folder, ignore_errors=True)
            if deadline.passed:
                raise DeadlineExceeded(f"{self.paths.folder}: cannot be removed")

    def _pids(self) -> list[tuple[int, int | None]]:
        try:
            return [(int(pid), started) for pid, started in json.loads(self.paths.pids.read_text()).items()]
        except (OSError, ValueError):
            return []

    def _replies(self) -> bool:
        try:
            self.ask("status")
        except (ConnectionLost, DeadlineExceeded, InvalidValue):
            return False
        return True

    def _last_log_line(self) -> str:
        try:
            lines = self.paths.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"
