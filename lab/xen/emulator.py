"""The emulated machine: QEMU without hardware virtualisation, its console, control port, and state in a file."""

from __future__ import annotations

import contextlib
import ctypes
import json
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lab.xen.image import Image
from vminterface.channel.interruptions import Held
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, ProgramFailed, ProgramMissing, printable

#: Loaded here, as a process that was just forked from one with threads can load nothing.
_LIBC = ctypes.CDLL(None)
_QEMU = "qemu-system-x86_64"
_MISSING = f"{_QEMU} is not installed; on Debian it is in qemu-system-x86"
MEMORY_MIB, DOM0_MIB = 3584, 1100
_LAST_LINES = 25
#: Seconds that a machine has to say that a command has taken too long.
_GRACE = 15.0
#: Seconds for dom0 to open a VM's console.
_CONSOLE_SECONDS = 90.0
#: A plain one: the emulation gets SMAP wrong on the hypervisor's way back to dom0, and with all that it can do programs
#: in there crash at random. One processor, as two are slower. Room for all that is translated, which is dropped where
#: it is full.
_PROCESSOR = ("-accel", "tcg,thread=single,tb-size=1024", "-cpu", "qemu64,-svm,+rdrand", "-smp", "1")

#: Nobody attacks this machine, and to protect it against its processor's faults makes every call of the kernel slow.
#: A domain has the processor for 10 ms at least, as with each other one the emulation looks up all addresses anew.
_XEN_WORDS = (
    f"console=com1 com1=115200,8n1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M loglvl=warning guest_loglvl=none spec-ctrl=no "
    "sched_ratelimit_us=10000"
)
LINUX_WORDS = "console=hvc0 panic=1 quiet mitigations=off random.trust_cpu=on"


def version() -> str:
    """Return what QEMU says of itself: a saved machine is for this version alone. Raises ProgramMissing."""
    try:
        done = subprocess.run(
            [_QEMU, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True
        )
    except FileNotFoundError:
        raise ProgramMissing(_MISSING) from None
    except (OSError, subprocess.SubprocessError) as error:
        raise ProgramFailed(f"{_QEMU} --version: {error}") from None
    return done.stdout.partition("\n")[0]


class Emulator:
    """One machine, for a ``with`` block, with whose end QEMU ends. Lines of its console go to *hear*."""

    def __init__(self, image: Image, hear: Callable[[str], None]) -> None:
        self._hear = hear
        #: QEMU's working folder, with links to what it is given: some of its options have no way to quote a path.
        self._folder = Path(tempfile.mkdtemp(prefix="vmi-xen-"))
        for name, path in {"xen": image.xen, "linux": image.kernel, "dom0": image.dom0, "disk": image.disk}.items():
            (self._folder / name).symlink_to(path.absolute())
        self._process: subprocess.Popen[bytes] | None = None
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._unfinished = b""
        self._socket: socket.socket | None = None
        self._replies: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._numbers = iter(range(1, sys.maxsize))
        self._ready: set[int | None] = set()
        self._news = threading.Condition()
        self._lock = threading.Lock()
        self._is_silent = False

    def boot(self, deadline: Deadline) -> None:
        """Start the machine and wait until dom0 takes commands. Raises DeadlineExceeded and ConnectionLost."""
        self._start("-kernel", "xen", "-append", _XEN_WORDS, "-initrd", f"linux {LINUX_WORDS},dom0")
        self._connect(deadline)
        self.wait_ready(None, deadline)

    def restore(self, state: Path, deadline: Deadline) -> None:
        """Go on where :meth:`save` left off. Raises DeadlineExceeded, ConnectionLost and ProgramFailed."""
        (self._folder / "state").symlink_to(state.absolute())
        self._start("-incoming", "exec:cat state")
        self._connect(deadline)
        with _Monitor(self._folder / "monitor", deadline) as monitor:
            while monitor.ask("query-status")["status"] in ("inmigrate", "prelaunch"):
                self._check(deadline, "the saved machine could not be read")
                time.sleep(0.1)
            monitor.ask("cont")

    def save(self, state: Path, deadline: Deadline) -> None:
        """Write the machine's state to the file *state* and end it. Raises DeadlineExceeded and ProgramFailed."""
        (self._folder / "state").symlink_to(state.absolute())
        with _Monitor(self._folder / "monitor", deadline) as monitor:
            monitor.ask("stop")
            monitor.ask("migrate-set-parameters", **{"max-bandwidth": 10_000_000_000})
            monitor.ask("migrate", uri="exec:cat >state")
            while (told := monitor.ask("query-migrate"))["status"] != "completed":
                if told["status"] == "failed":
                    reason = told.get("error-desc", "no reason given")
                    raise ProgramFailed(f"{_QEMU} could not save the machine: {reason}")
                self._check(deadline, "the machine was not saved")
                time.sleep(0.2)
        self.close()

    def call(
        self, words: Sequence[str], *, text: str = "", seconds: float, domid: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in dom0, or in the VM *domid*. Raises DeadlineExceeded and ConnectionLost."""
        what = f"{printable(' '.join(words), 120)} in {'dom0' if domid is None else f'domain {domid}'}"
        reply = self._ask(what, seconds, words=list(words), input=text, seconds=seconds, domid=domid)
        return subprocess.CompletedProcess(list(words), reply["status"], reply["out"], reply["err"])

    def open_console(self, domid: int) -> None:
        """Let dom0 listen to a VM's console. Raises ProgramFailed, DeadlineExceeded and ConnectionLost."""
        what = f"the console of domain {domid}"
        reply = self._ask(what, _CONSOLE_SECONDS, domid=domid)
        if reply["status"]:
            raise ProgramFailed(f"{what}: {printable(reply['err'], 200)}")

    def _ask(self, what: str, patience: float, **request: Any) -> dict[str, Any]:
        if self._is_silent:
            raise ConnectionLost(f"{what}: the emulated machine does not answer any more")
        number = next(self._numbers)
        replies = self._replies[number] = queue.SimpleQueue()
        try:
            self._send({"id": number, **request})
            reply = replies.get(timeout=patience + _GRACE)
        except queue.Empty:
            # dom0 itself says when a command takes too long; a VM may be paused.
            self._is_silent = request.get("domid") is None
            raise DeadlineExceeded(self._printed(f"{what}: no reply within {patience:g} s")) from None
        finally:
            self._replies.pop(number, None)
        if reply is None:
            raise ConnectionLost(self._printed(f"{what}: the emulated machine has ended"))
        return reply

    def wait_ready(self, domid: int | None, deadline: Deadline) -> None:
        """Wait until dom0, or the VM *domid*, takes commands. Raises DeadlineExceeded and ConnectionLost."""
        with self._news:
            while domid not in self._ready:
                self._check(deadline, "dom0 is not up" if domid is None else f"domain {domid} is not up")
                self._news.wait(0.2)

    @property
    def peak_mib(self) -> int:
        """The most memory that QEMU has had."""
        assert self._process is not None
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) >> 10
        return 0

    def wait_off(self, deadline: Deadline) -> None:
        """Wait until the machine has switched itself off. Raises DeadlineExceeded."""
        assert self._process is not None
        while self._process.poll() is None:
            self._check(deadline, "the machine did not switch itself off")
            time.sleep(0.1)

    def close(self) -> None:
        """End the machine, whatever it does, and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._socket is not None:
            self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, *own: str) -> None:
        command = [
            _QEMU, *_PROCESSOR, "-m", str(MEMORY_MIB), "-nodefaults", "-display", "none", "-no-reboot",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-drive", "file=disk,if=none,id=salt,format=raw,snapshot=on",
            "-device", "virtio-blk-pci,drive=salt",
            "-chardev", "socket,id=control,path=control,server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control",
            "-qmp", "unix:monitor,server=on,wait=off", *own,
        ]  # fmt: skip
        try:
            with Held():
                self._process = subprocess.Popen(
                    command, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, bufsize=0, start_new_session=True, preexec_fn=_end_with_parent,
                )  # fmt: skip
        except FileNotFoundError:
            raise ProgramMissing(_MISSING) from None
        self._reader = threading.Thread(target=self._read_console, daemon=True)
        self._reader.start()

    def _read_console(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while data := self._process.stdout.read(4096):
            *lines, self._unfinished = (self._unfinished + data).split(b"\n")
            for line in lines:
                self._note(line.decode("utf-8", "replace").rstrip())

    def _note(self, line: str) -> None:
        self._last.append(line)
        self._hear(line)

    def _connect(self, deadline: Deadline) -> None:
        while True:
            self._check(deadline, f"{_QEMU} does not listen")
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self._folder / "control"))
                break
            except OSError:
                connection.close()
                time.sleep(0.05)
        self._socket = connection
        threading.Thread(target=self._read_control, args=(connection,), daemon=True).start()

    def _read_control(self, connection: socket.socket) -> None:
        file = connection.makefile("r", encoding="utf-8", errors="replace")
        with contextlib.suppress(OSError, ValueError), file:
            for line in file:
                if line.startswith("@"):
                    self._take(json.loads(line[1:]))
                else:
                    self._note(f"domain {line[1:].rstrip()}")
        for replies in list(self._replies.values()):
            replies.put(None)

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            with self._news:
                self._ready.add(message.get("domid"))
                self._news.notify_all()
        elif (replies := self._replies.get(message["id"])) is not None:
            replies.put(message)

    def _send(self, request: dict[str, Any]) -> None:
        assert self._socket is not None
        try:
            with self._lock:
                self._socket.sendall(b"?" + json.dumps(request).encode() + b"\n")
        except OSError:
            raise ConnectionLost(self._printed("the emulated machine has ended")) from None

    def _check(self, deadline: Deadline, what: str) -> None:
        if deadline.passed:
            raise DeadlineExceeded(self._printed(what))
        if self._process is not None and self._process.poll() is not None and "switch" not in what:
            raise ConnectionLost(self._printed(f"{what}, as {_QEMU} ended with status {self._process.returncode}"))

    def _printed(self, what: str) -> str:
        if self._process is not None and self._process.poll() is not None:
            self._reader.join(_GRACE)  # until it has read what there is
        last = [*self._last, *([self._unfinished.decode("utf-8", "replace")] if self._unfinished else [])]
        lines = "\n".join(f"    {printable(line, 160)}" for line in last)
        return f"{what}; the console's last lines:\n{lines or '    (none)'}"


class _Monitor:
    """QEMU's monitor (QMP, docs/interop/qmp-spec.rst)."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(max(1.0, deadline.remaining))
        try:
            self._socket.connect(str(path))
            self._file = self._socket.makefile("r")
            self._file.readline()
            self.ask("qmp_capabilities")
        except OSError as error:
            raise ConnectionLost(f"{_QEMU}: no monitor: {error}") from None

    def __enter__(self) -> _Monitor:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """Give a command and return its answer. Raises ProgramFailed and ConnectionLost."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            for line in self._file:
                message = json.loads(line)
                if "error" in message:
                    raise ProgramFailed(f"{_QEMU}: {command}: {message['error']['desc']}")
                if "return" in message:
                    return message["return"]
        except OSError as error:
            raise ConnectionLost(f"{_QEMU}: {command}: {error}") from None
        raise ConnectionLost(f"{_QEMU} ended at {command}")


def _end_with_parent() -> None:
    """Let QEMU end when this program does, even where it is killed (prctl(2), PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGKILL)
