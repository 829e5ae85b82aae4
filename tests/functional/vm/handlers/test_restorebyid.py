"""Backup locations that dom0 registers, and restores that know no more of them than their id."""

from __future__ import annotations

import io
import os
import signal
import tarfile

import pytest

from tests.support.agentcall import Running, call
from tests.support.handlers import VM, Reply
from tests.support.qfilestream import events
from vminterface.vm.handlers.files import registered as locations
from vminterface.vm.machine.machine import Machine
from vminterface.wire.qfile import Unpacker
from vminterface.wire.qfile_result import Result

REGISTER, RESTORE = "qubes.RegisterBackupLocation", "qubes.RestoreById"
RUNTIME = {"XDG_RUNTIME_DIR": "/run/user/1000"}


@pytest.fixture
def vm(vm: VM) -> VM:
    (vm.root / "run/user/1000").mkdir(parents=True)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as target:
        for name in ("backup-header", "vm1"):
            member = tarfile.TarInfo(name)
            member.size = 5
            target.addfile(member, io.BytesIO(name[:5].encode().ljust(5)))
    vm.write("/media/backup", archive.getvalue())
    return vm


def registered(vm: VM) -> list[str]:
    folder = vm.root / "run/user/1000/qubes-backup-location"
    return os.listdir(folder) if folder.exists() else []


def restore(vm: VM, name: str, request: bytes) -> Reply:
    return call(vm, RESTORE, request, name, timeout=30.0, QREXEC_SERVICE_ARGUMENT=name, **RUNTIME)


def test_a_registered_location_is_restored_by_its_id_until_its_caller_is_done(vm: VM) -> None:
    with Running(vm, REGISTER, source="dom0", **RUNTIME) as running:
        running.send(b"/media/backup\n")
        reply = running.read(100)  # to its end: the answer is closed while the handler lives
        name = reply.decode().rstrip("\n")
        assert len(name) == 8
        assert registered(vm) == [name]
        with Running(vm, RESTORE, name, QREXEC_SERVICE_ARGUMENT=name, **RUNTIME) as restoring:
            restoring.send(b"backup\n")
            unpacker = Unpacker()
            found = []
            while not unpacker.ended:
                found += events(unpacker, [restoring.read(1)])
            restoring.send(unpacker.result().render())
            restoring.end_input()
            assert restoring.ended().status == 0
        assert b"".join(one for one in found if isinstance(one, bytes)) == b"backu"
        running.end_input()
        ended = running.ended()
    assert (ended.status, ended.stderr) == (0, "")
    assert registered(vm) == []
    assert "is no longer registered" in restore(vm, name, b"\n").refused(RESTORE)


def test_a_location_whose_process_was_killed_is_not_known_any_more(vm: VM) -> None:
    with Running(vm, REGISTER, source="dom0", **RUNTIME) as running:
        running.send(b"/media/backup\n")
        name = running.read(9).decode().rstrip("\n")
        running.process.send_signal(signal.SIGKILL)
        running.ended()
    assert registered(vm) == [name]
    assert "is no longer registered" in restore(vm, name, b"\n").refused(RESTORE)


@pytest.mark.parametrize("text", ["", "1\n", "x\n1\n/media/backup\n", "\xff"])
def test_a_damaged_registration_is_none(vm: VM, text: str) -> None:
    vm.write("/run/user/1000/qubes-backup-location/0123abcd", text)
    assert "is no longer registered" in restore(vm, "0123abcd", b"\n").refused(RESTORE)


def test_another_process_of_that_number_is_not_taken_for_it(vm: VM) -> None:
    vm.write("/run/user/1000/qubes-backup-location/0123abcd", f"{os.getpid()}\n1\n/media/backup\n")
    assert "is no longer registered" in restore(vm, "0123abcd", b"\n").refused(RESTORE)


@pytest.mark.parametrize("name", ["x", "0123abc", "0123abcde", "0123ABCD", "..", "-", "0123abcd+"])
def test_an_id_that_is_none_is_refused(vm: VM, name: str) -> None:
    assert "expected 8 hexadecimal digits" in restore(vm, name, b"\n").refused(RESTORE)


def test_an_input_cut_at_any_byte_is_no_success(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the line with the members' names and, when these have come, the result: 16 bytes without a name."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", RUNTIME["XDG_RUNTIME_DIR"])
    name = locations.add(Machine(str(vm.root)), "/media/backup")
    before = vm.content()
    for length in range(len(b"vm1\n")):
        assert "inside the line" in restore(vm, name, b"vm1\n"[:length]).refused(RESTORE)
    for length in range(17):
        with Running(vm, RESTORE, name, QREXEC_SERVICE_ARGUMENT=name, **RUNTIME) as restoring:
            restoring.send(b"vm1\n")
            unpacker = Unpacker()
            while not unpacker.ended:
                events(unpacker, [restoring.read(1)])
            restoring.send(Result(0, unpacker.crc).render()[:length])
            restoring.end_input()
            reply = restoring.ended()
        assert reply.status == (0 if length == 16 else 1)
        assert len(reply.stderr.splitlines()) == reply.status
    assert vm.content() == before


def test_a_restore_without_an_id_is_refused(vm: VM) -> None:
    assert "expected 8 hexadecimal digits" in call(vm, RESTORE, b"\n", timeout=30.0, **RUNTIME).refused(RESTORE)


@pytest.mark.parametrize("line", [b"", b"/media/backup", b"\n", b"/media/\0\n", b"/media/\x1b\n", b"\xff" * (1 << 20)])
def test_a_location_that_is_none_is_refused_and_not_kept(vm: VM, line: bytes) -> None:
    call(vm, REGISTER, line, timeout=30.0, **RUNTIME).refused(REGISTER)
    assert registered(vm) == []


@pytest.mark.parametrize("folder", ["", "run/user/1000"])
def test_without_a_runtime_folder_that_is_said(vm: VM, folder: str) -> None:
    assert "XDG_RUNTIME_DIR" in call(vm, REGISTER, b"/media/backup\n", XDG_RUNTIME_DIR=folder).refused(REGISTER)


def test_a_handler_that_is_ended_forgets_its_location(vm: VM) -> None:
    with Running(vm, REGISTER, source="dom0", **RUNTIME) as running:
        running.send(b"/media/backup\n")
        running.read(9)
        running.process.send_signal(signal.SIGTERM)
        assert running.ended().status == 143
    assert registered(vm) == []


def test_a_caller_that_goes_forgets_its_location(vm: VM) -> None:
    with Running(vm, REGISTER, source="dom0", **RUNTIME) as running:
        running.send(b"/media/backup\n")
        running.read(9)
        running.hang_up()
        running.ended()
    assert registered(vm) == []
