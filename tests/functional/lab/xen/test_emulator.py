"""What is told of an emulated machine that does not boot, hangs or ends. A program stands for QEMU, and its machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xen import emulator
from lab.xen.emulator import Emulator
from lab.xen.image import Image
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, ProgramFailed, ProgramMissing

#: Its console is its standard output, its control port the socket in its working folder. What is asked of dom0 is
#: answered there by what answers in dom0, whose commands then run here.
MACHINE = """#!{python} -S
import os, socket, sys, time
print("(XEN) Xen version 4.17", flush=True)
class Line:
    def __init__(self):
        with socket.socket(socket.AF_UNIX) as ear:
            ear.bind("control")
            ear.listen()
            self._socket, _ = ear.accept()
    def send(self, line):
        self._socket.sendall(line.encode() + b"\\n")
    def lines(self):
        return iter(self._socket.makefile().readline, "")
def boots(pass_on=None):
    sys.path[:0] = {path!r}
    from lab.xen.inside.commands import serve
    serve(Line(), pass_on)
{script}
"""


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that installs a program as QEMU."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(emulator, "_QEMU", "qemu-of-this-test")

    def install(script: Any) -> None:
        program = programs / "qemu-of-this-test"
        program.write_text(MACHINE.format(python=os.path.realpath(sys.executable), path=sys.path, script=script))
        program.chmod(0o755)

    return install


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def machine(tmp_path: Path, heard: list[Any]) -> Iterator[Emulator]:
    """Not started yet; the image's files have names that QEMU's options cannot tell."""
    folder = tmp_path / "the cache, of a user"
    folder.mkdir()
    files = [folder / name for name in ("xen", "vmlinux", "dom0.cpio", "salt.img")]
    for file in files:
        file.write_text(file.name)
    with Emulator(Image("mark", *files), heard.append) as machine:
        yield machine


def soon(seconds: float = 4.0) -> Deadline:
    return Deadline.after(seconds)


def test_where_qemu_is_missing_its_package_is_named(qemu: Callable[..., Any], machine: Emulator) -> None:
    with pytest.raises(ProgramMissing, match="qemu-system-x86"):
        emulator.version()
    with pytest.raises(ProgramMissing, match="qemu-system-x86"):
        machine.boot(soon())


def test_its_version_is_its_first_line(qemu: Callable[..., Any]) -> None:
    qemu("print('Copyright')")
    assert emulator.version() == "(XEN) Xen version 4.17"


def test_a_boot_that_hangs_ends_at_its_deadline_with_the_consoles_last_lines(
    qemu: Callable[..., Any], machine: Emulator
) -> None:
    qemu("Line(); print('Booting', end='', flush=True); time.sleep(60)")
    with pytest.raises(DeadlineExceeded) as caught:
        machine.boot(soon())
    first, *lines = str(caught.value).splitlines()
    assert first == "dom0 is not up; the console's last lines:"
    assert [line.strip() for line in lines] == ["(XEN) Xen version 4.17", "Booting"]


def test_a_machine_that_ends_at_boot_is_told_with_its_status_and_the_last_lines(
    qemu: Callable[..., Any], machine: Emulator
) -> None:
    qemu("print('(XEN) Panic on CPU 0'); sys.exit(3)")
    with pytest.raises(ConnectionLost, match=r"ended with status 3(.|\n)*Panic on CPU 0"):
        machine.boot(soon(20))


def test_with_the_block_all_of_it_ends(
    qemu: Callable[..., Any], machine: Emulator, tmp_path: Path, heard: list[Any]
) -> None:
    qemu("print(f'pid {os.getpid()} {os.getcwd()}', flush=True); boots()")
    with machine:
        machine.boot(soon(20))
    ((pid, folder),) = [line.split()[1:] for line in heard if line.startswith("pid ")]
    assert not os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(folder)


def test_commands_run_in_dom0(qemu: Callable[..., Any], machine: Emulator) -> None:
    qemu("boots()")
    machine.boot(soon(20))
    done = machine.call(["sh", "-c", "cat; echo fault >&2; exit 4"], text="input", seconds=20)
    assert (done.returncode, done.stdout, done.stderr) == (4, "input", "fault\n")
    assert machine.call(["sleep", "60"], seconds=0.5).returncode == 124
    assert machine.call(["no-such-program"], seconds=20).returncode == 127


def test_qemu_finds_the_images_files_whatever_their_folder_is_called(
    qemu: Callable[..., Any], machine: Emulator
) -> None:
    qemu("print('words', *sys.argv[1:], flush=True); boots()")
    machine.boot(soon(20))
    said = machine.call(["cat", "xen", "linux", "dom0", "disk"], seconds=20).stdout
    assert said == "xenvmlinuxdom0.cpiosalt.img"


def test_a_machine_that_stops_answering_is_waited_for_once(
    qemu: Callable[..., Any], machine: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "_GRACE", 0.5)
    qemu("line = Line(); line.send('@{\"ready\": true}'); print('BUG: soft lockup', flush=True); time.sleep(60)")
    machine.boot(soon(20))
    with pytest.raises(DeadlineExceeded, match=r"^xl list in dom0: no reply within 0\.5 s(.|\n)*soft lockup"):
        machine.call(["xl", "list"], seconds=0.5)
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match="does not answer any more"):
        machine.call(["xl", "list"], seconds=30)
    assert time.monotonic() - began < 5


def test_a_vm_that_does_not_answer_is_no_machine_that_does_not(
    qemu: Callable[..., Any], machine: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator, "_GRACE", 0.5)
    qemu("boots(lambda domid, request: None)")
    machine.boot(soon(20))
    with pytest.raises(DeadlineExceeded, match=r"^date in domain 7: no reply within 0\.5 s"):
        machine.call(["date"], seconds=0.5, domid=7)
    assert machine.call(["echo", "here"], seconds=20).stdout == "here\n"


def test_a_machine_that_ends_in_the_middle_of_a_command_is_told(qemu: Callable[..., Any], machine: Emulator) -> None:
    qemu("boots()")
    machine.boot(soon(20))
    with pytest.raises(ConnectionLost, match=r"^sh -c .* in dom0: the emulated machine has ended"):
        machine.call(["sh", "-c", "kill -KILL $PPID"], seconds=20)


def test_a_vms_console_that_cannot_be_opened_is_told(qemu: Callable[..., Any], machine: Emulator) -> None:
    qemu("""
def pass_on(domid, request):
    if domid != 3:
        raise KeyError(f"no domain {domid}")
boots(pass_on)
""")
    machine.boot(soon(20))
    machine.open_console(3)
    with pytest.raises(ProgramFailed, match=r"the console of domain 9: .*no domain 9"):
        machine.open_console(9)
