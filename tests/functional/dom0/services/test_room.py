"""A VM's disk without room for what is to be sent: said before anything goes."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.stopwatch import Stopwatch
from vminterface.channel.qrexec.client import Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services import backup, commands, files, room
from vminterface.dom0.transfer.unpack import Limits
from vminterface.dom0.transfer.wholefile import FileError
from vminterface.errors import DeadlineExceeded, OutputTooLarge, ServiceFailed


def has_free(vms: StandIn, kib: int) -> None:
    """Let ``df`` in the VM speak of a disk of that much free space; the form is POSIX's."""
    lines = f"Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/xvdb 2031440 9 {kib} 1%% /rw"
    vms.program("work", "df", f"printf '{lines}\\n'")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of so many bytes that it is worth asking."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * (room.FROM + 1))
    return path


def test_files_go_only_where_there_is_room(vms: StandIn, work: Path, qrexec: Qrexec, large: Path) -> None:
    has_free(vms, room.FROM // 1024)
    expected = rf"qubes.Filecopy in work: QubesIncoming/dom0 in work has {room.FROM} bytes free \(expected at least"
    with pytest.raises(ServiceFailed, match=expected):
        files.send(qrexec, "work", [large])
    assert not (work / "home/user/QubesIncoming").exists()
    has_free(vms, room.FROM // 1024 + 16)
    files.send(qrexec, "work", [large])
    assert (work / "home/user/QubesIncoming/dom0/large").stat().st_size == room.FROM + 1


def test_a_sparse_file_needs_room_for_its_content_alone(
    vms: StandIn, work: Path, qrexec: Qrexec, tmp_path: Path
) -> None:
    has_free(vms, 0)
    with open(tmp_path / "sparse", "wb") as made:
        made.truncate(room.FROM * 2)
    files.send(qrexec, "work", [tmp_path / "sparse"])
    assert (work / "home/user/QubesIncoming/dom0/sparse").stat().st_size == room.FROM * 2


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo / 1 2 x"])
def test_a_vm_that_cannot_tell_is_sent_the_files(
    vms: StandIn, work: Path, qrexec: Qrexec, large: Path, script: str
) -> None:
    vms.program("work", "df", script)
    files.send(qrexec, "work", [large])
    assert (work / "home/user/QubesIncoming/dom0/large").exists()


@pytest.mark.parametrize(
    ("script", "error"), [("exec cat /dev/zero", OutputTooLarge), ("exec sleep 1000", DeadlineExceeded)]
)
def test_a_vm_that_misbehaves_is_our_error_in_time(
    vms: StandIn, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch, script: str, error: type[Any]
) -> None:
    monkeypatch.setattr(room, "_SECONDS", 0.5)
    vms.handler("bad", commands.EXEC, script)
    with pytest.raises(error):
        room.check(qrexec, "bad", ["x"], room.FROM, "it", Deadline.after(60))


def test_a_backup_goes_only_into_a_folder_that_has_room(vms: StandIn, work: Path, qrexec: Qrexec, large: Path) -> None:
    has_free(vms, 5)
    folder = work / "home/user/backups"
    folder.mkdir(parents=True)
    with (
        backup.open_archive(str(large)) as archive,
        pytest.raises(ServiceFailed, match=r"backups in work has 5120 bytes|\.\.\. in work has 5120 bytes"),
    ):
        backup.backup(qrexec, "work", str(folder), archive)
    assert list(folder.iterdir()) == []


@pytest.fixture
def kept(vms: StandIn, work: Path, large: Path) -> Path:
    """A backup in the VM, of somewhat more than 16 MiB."""
    path = work / "home/user/kept.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(large, "large")
    return path


@pytest.mark.parametrize("location", ["kept.tar", None], ids=["below the home", "absolute"])
def test_a_restore_begins_only_where_dom0_has_room(
    vms: StandIn, qrexec: Qrexec, kept: Path, tmp_path: Path, location: str | None
) -> None:
    disk = os.statvfs(tmp_path)
    limits = Limits(reserve=disk.f_bavail * disk.f_frsize - room.FROM // 2)
    (vms.folder / "vms/work" / backup.RESTORE).unlink()  # which is not to be called
    before = sorted(os.listdir(tmp_path))
    expected = (
        rf"qubes.Restore in work: \S+ has {kept.stat().st_size} bytes, and {tmp_path} here has \d+ bytes free, of"
    )
    with pytest.raises(FileError, match=expected):
        backup.restore(qrexec, "work", location or str(kept), tmp_path / "back", limits=limits)
    assert sorted(os.listdir(tmp_path)) == before


def test_what_has_room_is_restored(qrexec: Qrexec, kept: Path, tmp_path: Path) -> None:
    assert backup.restore(qrexec, "work", str(kept), tmp_path / "back").total_bytes == room.FROM + 1


def test_members_of_a_large_backup_need_room_for_themselves_alone(qrexec: Qrexec, kept: Path, tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    with tarfile.open(kept, "a") as archive:
        archive.add(__file__, "small")
    limits = Limits(reserve=disk.f_bavail * disk.f_frsize - room.FROM // 2)
    assert backup.restore(qrexec, "work", str(kept), tmp_path / "back", ["small"], limits=limits).files == ("small",)


def test_the_question_is_under_the_calls_own_time(vms: StandIn, qrexec: Qrexec, large: Path, tmp_path: Path) -> None:
    vms.handler("bad", commands.EXEC, "exec sleep 1000")
    began = Stopwatch()
    with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
        files.send(qrexec, "bad", [large], timeout=0.3)
    with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s"):
        backup.restore(qrexec, "bad", "/kept.tar", tmp_path / "back", timeout=0.3)
    began.check(5)
