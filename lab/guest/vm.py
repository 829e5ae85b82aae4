"""One running VM: its first process, its agent, pause and stop. With no namespaces, the agent alone is the VM."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

from lab.dom0.vmlist import VMSpec
from lab.guest import vmroot
from lab.guest.screens import Screens
from lab.linux import network, processes
from lab.linux.namespaces import DIE_WITH_PARENT, Isolation
from lab.paths import PROJECT, LabPaths
from lab.qrexec import install
from lab.qrexec.install import PYTHON
from vminterface.channel.interruptions import Held
from vminterface.errors import DeadlineExceeded, InvalidValue, ProgramFailed, ProgramMissing

_START_SECONDS = 15.0
_STOP_SECONDS = 5.0
#: Names the module, and its arguments, that VMs run as their agent in place of the product's own.
AGENT_VARIABLE = "LAB_AGENT"
_AGENT = [sys.executable, "-m", *os.environ.get(AGENT_VARIABLE, "vminterface agent").split()]


def environment(xenbus: str) -> dict[str, str]:
    """Return what a process in a VM has in its environment."""
    paths = [str(PROJECT), str(PROJECT / "_utils"), *vmroot.package_folders()]
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XENSTORED_PATH": xenbus,
    }


class VM:
    """A VM as domain *domid*, whose processes meet the store at the socket *xenbus*."""

    def __init__(
        self, spec: VMSpec, index: int, paths: LabPaths, isolation: Isolation, domid: int, xenbus: str
    ) -> None:
        self.spec = spec
        self.domid = domid
        self.mac = network.client_mac(index)
        self.paused = False
        #: The first process as the supervisor sees it, or the agent where the VM is only a folder.
        self.init = 0
        #: Exit status of the agent, None while it runs.
        self.agent_status: int | None = None
        self._calls: list[subprocess.Popen[bytes]] = []
        #: The X server, where one was asked for.
        self.screens: Screens | None = None
        self._isolation = isolation
        self.root = paths.root(spec.name)
        self._log = paths.vm_log(spec.name)
        self._xenbus = xenbus
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether the VM's first process runs."""
        return self._process is not None and self._process.poll() is None

    def fileno(self) -> int:
        """Where the first process speaks, for a selector."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def make_root(self) -> None:
        """Make the VM's files ready for a start."""
        vmroot.make(self.root, self.spec.name)
        install.vm(self.root, whole=self._isolation.vms)

    def prepare(self) -> None:
        """Start the first process; the agent waits for :meth:`run`. Raises ProgramFailed, DeadlineExceeded."""
        log = open(self._log, "ab")  # noqa: SIM115 - it is closed below, when the child has it
        with log:
            if self._isolation.vms:
                inside = environment("/dev/xen/xenbus")
                words = [sys.executable, "-m", "lab.guest.init", str(self.root), self.spec.name, self._xenbus, *_AGENT]
                command = self._isolation.vm(words)
            else:
                inside = {**environment(self._xenbus), "PATH": str(vmroot.make_without_mounts(self.root))}
                command = [*DIE_WITH_PARENT, *_AGENT, "--root", str(self.root)]
            with Held():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=inside, cwd="/"
                )
        if not self._isolation.vms:
            self.init = self._process.pid
            return
        os.set_blocking(self.fileno(), False)
        end = time.monotonic() + _START_SECONDS
        while not self.init:
            with selectors.DefaultSelector() as selector:
                selector.register(self.fileno(), selectors.EVENT_READ)
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise DeadlineExceeded(f"{self.spec.name}: not started within {_START_SECONDS:g} s")
            if not self.listen():
                raise ProgramFailed(f"{self.spec.name}: could not be started: {self.last_words()}")

    def run(self) -> None:
        """Let the agent start."""
        if self._isolation.vms:
            self._send("go")

    def restart_agent(self) -> None:
        """Kill the agent, with SIGKILL, and start another. Raises InvalidValue where the VM is only a folder."""
        if not self._isolation.vms:
            raise InvalidValue(f"{self.spec.name}: the agent of a VM that is only a folder is the VM")
        self._send("agent")

    def reply(self, command: str, streams: list[int], connection: int) -> subprocess.Popen[bytes]:
        """Start the qrexec agent for *command* with a caller's streams and connection; return its process."""
        inside = "" if self._isolation.vms else str(self.root)
        words = [PYTHON, "-S", "-m", "lab.qrexec.agent", inside, vmroot.DEFAULT_USER, str(connection), command]
        stdin, stdout, stderr = streams
        self._calls = [call for call in self._calls if call.poll() is None]
        call = subprocess.Popen(
            self._enter(words), stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=(connection,), cwd="/",
            env=environment("/dev/xen/xenbus" if self._isolation.vms else self._xenbus),
        )  # fmt: skip
        self._calls.append(call)
        return call

    def greet(self, connection: int) -> subprocess.Popen[bytes]:
        """Start the VM's end of a GUI connection; return its process."""
        root = "/" if self._isolation.vms else str(self.root)
        words = [PYTHON, "-S", "-m", "lab.guest.guiagent", root, str(connection)]
        self._calls = [call for call in self._calls if call.poll() is None]
        with open(self._log, "ab") as log:
            call = subprocess.Popen(
                self._enter(words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(connection,), cwd="/",
                env=environment("/dev/xen/xenbus" if self._isolation.vms else self._xenbus),
            )  # fmt: skip
        self._calls.append(call)
        return call

    def start_screens(self) -> str:
        """Start an X server on display 0 of the VM, unless there is one; say which.

        Raises ProgramMissing, ProgramFailed, DeadlineExceeded.
        """
        if not self._isolation.vms:
            raise ProgramMissing(f"{self.spec.name}: a VM that is only a folder has no display of its own")
        if self.screens is None or not self.screens.alive:
            self.screens = Screens(self.spec.name, self._enter([sys.executable, "-m", "lab.guest.session"]), self._log)
            self.screens.start(environment("/dev/xen/xenbus"))
        return self.screens.kind

    def _enter(self, words: list[str]) -> list[str]:
        """Return the command line that runs *words* in this VM, and not longer than the lab."""
        return [*DIE_WITH_PARENT, *(self._isolation.enter(self.init, words) if self._isolation.vms else words)]

    def listen(self) -> bool:
        """Take in what the first process says; False when it says no more."""
        try:
            data = os.read(self.fileno(), 4096)
        except BlockingIOError:
            return True
        for line in data.decode("ascii", "replace").splitlines():
            word, _, rest = line.partition(" ")
            if word == "ready":
                self.init = int(rest)
            elif word == "agent":
                self.agent_status = None
            elif word == "exited":
                self.agent_status = int(rest)
        if not data and not self._isolation.vms and self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.agent_status = self._process.wait(1)
        return bool(data)

    def pause(self) -> None:
        """Stop every process of the VM where it is."""
        for pid in self._all():
            self._signal(pid, signal.SIGSTOP)
        self.paused = True

    def unpause(self) -> None:
        """Let them go on."""
        for pid in reversed(self._all()):
            self._signal(pid, signal.SIGCONT)
        self.paused = False

    def stop(self) -> None:
        """End the VM: the agent is asked first, then everything is killed."""
        process, self._process = self._process, None
        if process is None:
            return
        if self.paused or not self.init:
            self._signal(self.init or process.pid, signal.SIGKILL)
        elif self._isolation.vms:
            with contextlib.suppress(OSError):
                assert process.stdin is not None
                process.stdin.write(b"stop\n")
                process.stdin.flush()
        else:
            self._signal(self.init, signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(self.init, signal.SIGKILL)
            process.kill()
            process.wait()
        for call in self._calls:  # those of namespaces have ended with these
            # The call's own process first: it would report how its program has ended, which a VM that is gone cannot.
            for pid in reversed(processes.descendants(call.pid) if call.poll() is None else []):
                self._signal(pid, signal.SIGKILL)
            call.wait()
        if self.screens is not None:
            self.screens.end()
            self.screens = None
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def last_words(self) -> str:
        """Return the last line of the VM's log."""
        try:
            lines = Path(self._log).read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    def _all(self) -> list[int]:
        return processes.inside(self.init) if self._isolation.vms else processes.descendants(self.init)

    def _send(self, word: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
