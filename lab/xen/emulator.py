"""The emulated machine: QEMU without hardware virtualisation, its console, control port, and state in a file."""

from __future__ import annotations

import contextlib
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
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, ProgramFailed, ProgramMissing, printable

_QEMU = "qemu-system-x86_64"
MEMORY_MIB, DOM0_MIB = 3584, 1100
_LAST_LINES = 25
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


class Emulator:
    """One machine, for a ``with`` block, with whose end QEMU ends. Lines of its console go to *hear*."""

    def __init__(self, image: Image, hear: Callable[[str], None]) -> None:
        self._image = image
        self._hear = hear
        self._folder = Path(tempfile.mkdtemp(prefix="vmi-xen-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._socket: socket.socket | None = None
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._numbers = iter(range(1, sys.maxsize))
        self._ready: set[int | None] = set()
        self._news = threading.Condition()
        self._lock = threading.Lock()

    def boot(self, deadline: Deadline) -> None:
        """Start the machine and wait until dom0 takes commands. Raises DeadlineExceeded and ConnectionLost."""
        linux = f"{self._image.kernel} {LINUX_WORDS},{self._image.dom0}"
        self._start("-kernel", str(self._image.xen), "-append", _XEN_WORDS, "-initrd", linux)
        self._connect(deadline)
        self.wait_ready(None, deadline)

    def restore(self, state: Path, deadline: Deadline) -> None:
        """Go on where :meth:`save` left off. Raises DeadlineExceeded, ConnectionLost and ProgramFailed."""
        self._start("-incoming", f"exec:cat {state}")
        self._connect(deadline)
        monitor = _Monitor(self._folder / "monitor", deadline)
        while monitor.ask("query-status")["status"] in ("inmigrate", "prelaunch"):
            self._check(deadline, "the saved machine could not be read")
            time.sleep(0.1)
        monitor.ask("cont")

    def save(self, state: Path, deadline: Deadline) -> None:
        """Write the machine's state to the file *state* and end it. Raises DeadlineExceeded and ProgramFailed."""
        monitor = _Monitor(self._folder / "monitor", deadline)
        monitor.ask("stop")
        monitor.ask("migrate-set-parameters", **{"max-bandwidth": 10_000_000_000})
        monitor.ask("migrate", uri=f"exec:cat >{state}")
        while (told := monitor.ask("query-migrate"))["status"] != "completed":
            if told["status"] == "failed":
                raise ProgramFailed(f"{_QEMU} could not save the machine: {told.get('error-desc', 'no reason given')}")
            self._check(deadline, "the machine was not saved")
            time.sleep(0.2)
        self.close()

    def call(
        self, words: Sequence[str], *, text: str = "", seconds: float, domid: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in dom0, or in the VM *domid*. Raises DeadlineExceeded and ConnectionLost."""
        number = next(self._numbers)
        answers = self._answers[number] = queue.SimpleQueue()
        try:
            self._send({"id": number, "words": list(words), "input": text, "seconds": seconds, "domid": domid})
            # The command has its time in there; a machine that does not even say so is given a bit more.
            answer = answers.get(timeout=seconds + 5)
        except queue.Empty:
            what = f"{printable(' '.join(words), 120)} in {'dom0' if domid is None else f'domain {domid}'}"
            raise DeadlineExceeded(f"{what}: no answer within {seconds:g} s") from None
        finally:
            self._answers.pop(number, None)
        if answer is None:
            raise ConnectionLost(self._said("the emulated machine has ended"))
        return subprocess.CompletedProcess(list(words), answer["status"], answer["out"], answer["err"])

    def open_console(self, domid: int) -> None:
        """Let dom0 listen to a VM's console."""
        self._send({"id": 0, "domid": domid})

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
            "-drive", f"file={self._image.disk},if=none,id=salt,format=raw,snapshot=on",
            "-device", "virtio-blk-pci,drive=salt",
            "-chardev", f"socket,id=control,path={self._folder}/control,server=on,wait=off",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=control",
            "-qmp", f"unix:{self._folder}/monitor,server=on,wait=off", *own,
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, preexec_fn=_end_with_parent,
            )  # fmt: skip
        except FileNotFoundError:
            raise ProgramMissing(f"{_QEMU} is not installed; on Debian it is in qemu-system-x86") from None
        threading.Thread(target=self._read_console, daemon=True).start()

    def _read_console(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
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
        for answers in list(self._answers.values()):
            answers.put(None)

    def _take(self, said: dict[str, Any]) -> None:
        if "ready" in said:
            with self._news:
                self._ready.add(said.get("domid"))
                self._news.notify_all()
        elif (answers := self._answers.get(said["id"])) is not None:
            answers.put(said)

    def _send(self, request: dict[str, Any]) -> None:
        assert self._socket is not None
        try:
            with self._lock:
                self._socket.sendall(b"?" + json.dumps(request).encode() + b"\n")
        except OSError:
            raise ConnectionLost(self._said("the emulated machine has ended")) from None

    def _check(self, deadline: Deadline, what: str) -> None:
        if deadline.passed:
            raise DeadlineExceeded(self._said(what))
        if self._process is not None and self._process.poll() is not None and "switch" not in what:
            raise ConnectionLost(self._said(f"{what}, as {_QEMU} ended with status {self._process.returncode}"))

    def _said(self, what: str) -> str:
        lines = "\n".join(f"    {printable(line, 160)}" for line in self._last)
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
        except OSError as fault:
            raise ConnectionLost(f"{_QEMU}: no monitor: {fault}") from None

    def ask(self, command: str, **arguments: Any) -> Any:
        """Give a command and return its answer. Raises ProgramFailed and ConnectionLost."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            for line in self._file:
                said = json.loads(line)
                if "error" in said:
                    raise ProgramFailed(f"{_QEMU}: {command}: {said['error']['desc']}")
                if "return" in said:
                    return said["return"]
        except OSError as fault:
            raise ConnectionLost(f"{_QEMU}: {command}: {fault}") from None
        raise ConnectionLost(f"{_QEMU} ended at {command}")


def _end_with_parent() -> None:
    """Let QEMU end when this program does, even where it is killed (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
