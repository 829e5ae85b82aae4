"""Backups that dom0 leaves here: in a folder, as a file, or with a command where an admin allows that."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.support.agentcall import Running, call, ends, within
from tests.support.handlers import VM
from vminterface.errors import InvalidValue
from vminterface.vm.handlers import backup

SERVICE = "qubes.Backup"
ARCHIVE = os.urandom(3 << 20)


@pytest.fixture
def vm(vm: VM) -> VM:
    (vm.root / "home/user/mine").mkdir(parents=True)
    (vm.root / "media/usb disk").mkdir(parents=True)
    return vm


def files(vm: VM) -> list[str]:
    return sorted(str(path.relative_to(vm.root)) for path in vm.root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("location", "folder"),
    [("/media/usb disk", "media/usb disk"), ("/media/usb disk/", "media/usb disk"), ("mine", "home/user/mine")],
)
def test_a_folder_gets_a_file_named_after_the_time(vm: VM, location: str, folder: str) -> None:
    before = time.strftime("%Y-%m-%dT%H%M%S")
    reply = call(vm, SERVICE, f"{location}\n".encode() + ARCHIVE)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    (name,) = os.listdir(vm.root / folder)
    assert re.fullmatch(r"qubes-backup-\d{4}-\d\d-\d\dT\d{6}", name)
    assert before <= name.removeprefix("qubes-backup-") <= time.strftime("%Y-%m-%dT%H%M%S")
    assert (vm.root / folder / name).read_bytes() == ARCHIVE
    assert (vm.root / folder / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["weekly", "my backup", "ż.tar"])
def test_an_absolute_path_becomes_a_file(vm: VM, name: str) -> None:
    reply = call(vm, SERVICE, f"/media/usb disk/{name}\n".encode() + ARCHIVE)
    assert (reply.status, reply.stderr) == (0, "")
    assert (vm.root / "media/usb disk" / name).read_bytes() == ARCHIVE
    assert files(vm) == [f"media/usb disk/{name}"]


@pytest.mark.parametrize("there", ["file", "link", "dangling", "pipe"])
def test_what_is_there_is_never_replaced(vm: VM, there: str) -> None:
    place = vm.root / "media/usb disk/weekly"
    if there == "file":
        place.write_text("old")
    elif there == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(vm.write("/etc/target", "old") if there == "link" else vm.root / "etc/none")
    before = vm.content()
    assert "a file with this name" in call(vm, SERVICE, b"/media/usb disk/weekly\n" + ARCHIVE).refused(SERVICE)
    assert vm.content() == before


def test_a_file_that_appears_meanwhile_is_not_replaced_either(vm: VM) -> None:
    place = vm.root / "media/usb disk/weekly"
    with Running(vm, SERVICE) as running:
        running.send(b"/media/usb disk/weekly\n" + ARCHIVE)
        place.write_text("old")
        running.end_input()
        reply = running.ended()
    assert "File exists" in reply.refused(SERVICE)
    assert place.read_text() == "old"
    assert files(vm) == ["media/usb disk/weekly"]


@pytest.mark.parametrize(
    "location",
    [
        b"",
        b" ",
        b"weekly",
        b"../weekly",
        b"/media/usb disk/none/weekly",
        b"/media/usb disk/weekly/",
        b"/etc/passwd/x",
        b"ssh host 'cat >x'",
        b"cat",
        b"/bin/cat",
        b"/media/usb disk/a\tb",
        b"/media/usb disk/a\rb",
        b"/media/usb disk/a\0b",
        b"/media/usb disk/a\x1b[0m",
        b"/media/usb disk/a\x7f",
        b"/media/usb disk/" + b"a" * 256,
        b"/" + b"a/" * 2000,
        b"/" + b"a" * 5000,
        b"\xff" * (1 << 20),
        bytes(1 << 20),
    ],
)
def test_every_other_location_is_refused_and_nothing_is_kept(vm: VM, location: bytes) -> None:
    before = vm.content()
    call(vm, SERVICE, location + b"\n" + ARCHIVE[:1000]).refused(SERVICE)
    assert vm.content() == before


def test_an_input_that_ends_before_the_archive_is_refused(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    before = vm.content()
    line = b"/media/usb disk/weekly\n"
    for length in range(len(line) + 1):
        with within(vm, SERVICE, line[:length]) as (received_call, _), pytest.raises(InvalidValue, match="input ends"):
            backup.handle(received_call)
    assert vm.content() == before


def test_a_full_disk_leaves_nothing(vm: VM) -> None:
    program = vm.root.parent / "programs" / SERVICE
    call(vm, SERVICE, b"\n")  # writes the program
    text = program.read_text()
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
    program.write_text(text.replace("sys.exit", f"{limit}sys.exit"))
    assert "File too large" in call(vm, SERVICE, b"/media/usb disk/weekly\n" + ARCHIVE).refused(SERVICE)
    assert files(vm) == []


def test_a_handler_that_is_ended_leaves_nothing(vm: VM) -> None:
    with Running(vm, SERVICE) as running:
        running.send(b"/media/usb disk/weekly\n" + ARCHIVE)
        limit = time.monotonic() + 20
        while not files(vm):
            assert time.monotonic() < limit
            time.sleep(0.02)
        running.process.send_signal(signal.SIGTERM)
        assert running.ended().status == 143
    assert files(vm) == []


@pytest.mark.parametrize("location", ["/media/usb disk", "/media/usb disk/weekly"])
def test_a_backup_whose_caller_goes_is_not_kept(vm: VM, location: str) -> None:
    with Running(vm, SERVICE) as running:
        running.send(f"{location}\n".encode() + ARCHIVE)
        running.hang_up()
        reply = running.ended()
    assert (reply.status, reply.stdout) == (1, b"")
    assert files(vm) == []


def unfinished(vm: VM) -> str:
    """Wait for the file that a handler is writing."""
    limit = time.monotonic() + 20
    while not (there := files(vm)):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return there[0]


def test_what_a_killed_handler_leaves_goes_with_the_next_backup_and_never_has_the_name(vm: VM) -> None:
    with Running(vm, SERVICE) as killed, Running(vm, SERVICE) as at_work:
        killed.send(b"/media/usb disk/weekly\n" + ARCHIVE)
        left = unfinished(vm)
        killed.process.kill()
        killed.process.wait(30)
        at_work.send(b"/media/usb disk/daily\n" + ARCHIVE)
        limit = time.monotonic() + 20
        while not (here := [name for name in files(vm) if "daily" in name]):
            assert time.monotonic() < limit
            time.sleep(0.02)
        vm.write("/media/usb disk/.mine.part")
        assert call(vm, SERVICE, b"/media/usb disk/weekly\n" + ARCHIVE).status == 0
        assert left not in files(vm)
        assert files(vm) == sorted([*here, "media/usb disk/.mine.part", "media/usb disk/weekly"])
        at_work.end_input()
        assert at_work.ended().status == 0
    assert (vm.root / "media/usb disk/daily").read_bytes() == ARCHIVE


def test_a_command_whose_input_breaks_off_is_ended_before_it_takes_that_for_the_end(vm: VM) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    copy = vm.root.parent / "copy"
    with Running(vm, SERVICE) as running:
        running.send(f"cat > '{copy}.part' && mv '{copy}.part' '{copy}'\n".encode() + ARCHIVE)
        limit = time.monotonic() + 20
        while not Path(f"{copy}.part").exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        running.hang_up()
        assert running.ended().status == 1
    assert not copy.exists()


def test_a_command_that_hangs_is_ended_when_the_caller_goes(vm: VM) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    notes = vm.root.parent / "notes"
    with Running(vm, SERVICE) as running:
        running.send(f"echo $$ > '{notes}'; exec sleep 60\n".encode() + ARCHIVE[:150_000])
        limit = time.monotonic() + 20
        while not notes.exists() or not notes.read_text().endswith("\n"):
            assert time.monotonic() < limit
            time.sleep(0.02)
        running.hang_up()
        assert running.ended().status == 1
    assert ends(int(notes.read_text()))


def test_an_unwritable_folder_is_a_fault(vm: VM) -> None:
    (vm.root / "media/link").symlink_to("/proc")
    before = vm.content()
    assert "points outside" in call(vm, SERVICE, b"/media/link/x\n" + ARCHIVE).refused(SERVICE)
    assert vm.content() == before


def test_an_argument_is_refused(vm: VM) -> None:
    call(vm, SERVICE, b"mine\nx", "x", QREXEC_SERVICE_ARGUMENT="x").refused(SERVICE)


def test_a_command_is_run_only_where_that_is_switched_on(vm: VM) -> None:
    target = vm.root.parent / "a copy"
    line = f"cat > '{target}'\n".encode()
    assert "commands are disabled" in call(vm, SERVICE, line + ARCHIVE).refused(SERVICE)
    assert not target.exists()
    vm.write("/etc/vminterface/backup-commands-allowed")
    reply = call(vm, SERVICE, line + ARCHIVE)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert target.read_bytes() == ARCHIVE


def test_the_status_of_the_command_is_the_answer_and_its_messages_are_passed_on(vm: VM) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    reply = call(vm, SERVICE, b"cat >/dev/null; echo noise; echo no space >&2; exit 9\n" + ARCHIVE)
    assert (reply.status, reply.stdout) == (9, b"")
    assert reply.stderr == f"no space\n{SERVICE}: the command ended with status 9\n"


def test_what_is_no_command_is_refused_where_commands_are_switched_on(vm: VM) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    for line in (b"no-such-program x\n", b"'cat\n", b"weekly\n"):
        reason = call(vm, SERVICE, line + ARCHIVE).refused(SERVICE)
        assert "disabled" not in reason


def test_a_command_that_reads_nothing_is_no_fault_of_its_own(vm: VM) -> None:
    vm.write("/etc/vminterface/backup-commands-allowed")
    assert call(vm, SERVICE, b"true\n" + ARCHIVE).status == 0
