"""A VM's disk without room for what is to be sent: said before anything goes."""

from __future__ import annotations

import pytest

from vminterface.dom0.services import backup, commands, files, room
from vminterface.errors import DeadlineExceeded, OutputTooLarge, ServiceFailed


def has_free(vms, kib: int) -> None:
    """Let ``df`` in the VM speak of a disk of that much free space; the form is POSIX's."""
    lines = f"Filesystem 1024-blocks Used Available Capacity Mounted on\\n/dev/xvdb 2031440 9 {kib} 1%% /rw"
    vms.program("work", "df", f"printf '{lines}\\n'")


@pytest.fixture
def large(tmp_path):
    """A file of so many bytes that it is worth asking."""
    path = tmp_path / "large"
    path.write_bytes(b"x" * (room.FROM + 1))
    return path


def test_files_go_only_where_there_is_room(vms, work, qrexec, large):
    has_free(vms, room.FROM // 1024)
    expected = rf"qubes.Filecopy in work: QubesIncoming/dom0 in work has {room.FROM} bytes free \(expected at least"
    with pytest.raises(ServiceFailed, match=expected):
        files.send(qrexec, "work", [large])
    assert not (work / "home/user/QubesIncoming").exists()
    has_free(vms, room.FROM // 1024 + 16)
    files.send(qrexec, "work", [large])
    assert (work / "home/user/QubesIncoming/dom0/large").stat().st_size == room.FROM + 1


def test_a_sparse_file_needs_room_for_its_content_alone(vms, work, qrexec, tmp_path):
    has_free(vms, 0)
    with open(tmp_path / "sparse", "wb") as made:
        made.truncate(room.FROM * 2)
    files.send(qrexec, "work", [tmp_path / "sparse"])
    assert (work / "home/user/QubesIncoming/dom0/sparse").stat().st_size == room.FROM * 2


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo / 1 2 x"])
def test_a_vm_that_cannot_tell_is_sent_the_files(vms, work, qrexec, large, script):
    vms.program("work", "df", script)
    files.send(qrexec, "work", [large])
    assert (work / "home/user/QubesIncoming/dom0/large").exists()


@pytest.mark.parametrize(
    ("script", "error"), [("exec cat /dev/zero", OutputTooLarge), ("exec sleep 1000", DeadlineExceeded)]
)
def test_a_vm_that_misbehaves_is_our_error_in_time(vms, qrexec, monkeypatch, script, error):
    monkeypatch.setattr(room, "_SECONDS", 0.5)
    vms.handler("bad", commands.EXEC, script)
    with pytest.raises(error):
        room.check(qrexec, "bad", ["x"], room.FROM, "it")


def test_a_backup_goes_only_into_a_folder_that_has_room(vms, work, qrexec, large):
    has_free(vms, 5)
    folder = work / "home/user/backups"
    folder.mkdir(parents=True)
    with (
        backup.open_archive(str(large)) as archive,
        pytest.raises(ServiceFailed, match=r"backups in work has 5120 bytes|\.\.\. in work has 5120 bytes"),
    ):
        backup.backup(qrexec, "work", str(folder), archive)
    assert list(folder.iterdir()) == []
