"""The file that dom0's programs share: who may use it, what is in it, and which ranges of it are whose."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vminterface.dom0.history import shared
from vminterface.dom0.push import lockfile
from vminterface.dom0.push.lockfile import LockFile
from vminterface.errors import LockUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "run" / "vminterface")


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


class TestWhere:
    def test_it_is_where_it_is_asked_for_else_where_the_variable_says_else_in_run(
        self, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened: list[str] = []

        def open_(path: str) -> int:
            opened.append(path)
            return -1

        monkeypatch.setattr(lockfile, "_opened", open_)
        monkeypatch.delenv("VMINTERFACE_LOCK_DIR", raising=False)
        LockFile()
        monkeypatch.setenv("VMINTERFACE_LOCK_DIR", "/somewhere")
        LockFile()
        LockFile(folder, "pushes.json")
        assert opened == ["/run/vminterface/vms.lock", "/somewhere/vms.lock", f"{folder}/pushes.json"]

    def test_it_is_made_with_its_folder_and_kept(self, folder: str) -> None:
        umask = os.umask(0)
        try:
            file = LockFile(folder, "a")
        finally:
            os.umask(umask)
        assert file.path == f"{folder}/a"
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755
        file.write(b"text", 0)
        file.close()
        again = LockFile(folder, "a")
        assert again.read(10, 0) == b"text"
        again.close()

    def test_no_program_that_is_started_inherits_it(self, folder: str) -> None:
        file = LockFile(folder)
        assert not os.get_inheritable(file._file)
        file.close()


class TestWhoMayUseIt:
    @pytest.fixture(autouse=True)
    def another_host(self) -> Iterator[None]:
        """One of which nothing is known yet, nor after the test."""
        shared._group.cache_clear()
        yield
        shared._group.cache_clear()

    @pytest.fixture
    def group(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """The group of those who may write to VMs, as on Qubes: one that this process is in."""
        gid = os.getgid()
        monkeypatch.setattr(grp, "getgrnam", {"qubes": SimpleNamespace(gr_gid=gid)}.__getitem__)
        return gid

    def mode(self, folder: str) -> int:
        LockFile(folder).close()
        return stat.S_IMODE(os.stat(f"{folder}/vms.lock").st_mode)

    @pytest.fixture
    def as_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root gives a file to a group")

    def test_roots_file_is_for_the_group_too(self, folder: str, group: int, as_root: None) -> None:
        assert self.mode(folder) == 0o660
        assert os.stat(f"{folder}/vms.lock").st_gid == group

    def test_it_is_given_to_the_group_with_its_owner_unchanged(
        self, folder: str, group: int, as_root: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[tuple[int, int]] = []
        monkeypatch.setattr(os, "chown", lambda file, uid, gid: given.append((uid, gid)))
        self.mode(folder)
        assert given == [(-1, group)]

    def test_without_such_a_group_it_is_roots_alone(
        self, folder: str, as_root: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(grp, "getgrnam", {}.__getitem__)
        assert self.mode(folder) == 0o600

    def test_what_an_admin_has_set_stays(self, folder: str, group: int, as_root: None) -> None:
        assert self.mode(folder) == 0o660
        os.chmod(f"{folder}/vms.lock", 0o640)
        assert self.mode(folder) == 0o640

    def test_another_users_file_is_that_users_alone(
        self, folder: str, group: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert self.mode(folder) == 0o600


class TestWhatIsNoSuchFile:
    def test_a_folder_that_cannot_be_made_is_explained(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(LockUnavailable) as raised:
            LockFile(str(tmp_path / "file"))
        assert str(raised.value) == (
            f"{tmp_path}/file/vms.lock: File exists: this file keeps two programs from writing to a VM at the same "
            "time (expected to run as root, or in group qubes after root's first push; VMINTERFACE_LOCK_DIR sets "
            "another folder)"
        )

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "vms.lock").symlink_to(tmp_path / "other")
        with pytest.raises(LockUnavailable, match=r"vms\.lock: Too many levels of symbolic links: "):
            LockFile(str(tmp_path))
        assert not (tmp_path / "other").exists()

    def test_a_pipe_is_refused_and_nobody_waits_for_its_other_end(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "vms.lock")
        before = set(os.listdir("/proc/self/fd"))
        with pytest.raises(LockUnavailable, match=rf"^{tmp_path}/vms\.lock: is not a regular file$"):
            LockFile(str(tmp_path))
        assert set(os.listdir("/proc/self/fd")) == before


class TestRanges:
    def test_a_range_is_one_open_files_at_a_time(self, folder: str) -> None:
        one, other = LockFile(folder), LockFile(folder)
        assert one.lock(2, 3)
        assert one.lock(2, 3)
        assert [other.is_locked(start, 1) for start in range(1, 6)] == [False, True, True, True, False]
        assert other.is_locked(0, 3)
        assert not other.is_locked(0, 2)
        assert not one.is_locked(2, 3)
        assert not other.lock(4, 2)
        assert other.lock(5, 1)
        one.unlock(3, 1)
        assert [other.is_locked(start, 1) for start in range(1, 6)] == [False, True, False, True, False]
        one.close()
        assert not other.is_locked(0, 10)
        other.close()

    @pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
    def test_either_error_of_the_kernel_means_that_another_has_it(
        self, folder: str, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        file = LockFile(folder)
        monkeypatch.setattr(fcntl, "fcntl", failing(number))
        assert not file.lock(0, 1)

    def test_what_else_the_kernel_says_is_an_error(self, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        file = LockFile(folder)
        monkeypatch.setattr(fcntl, "fcntl", failing(errno.ENOLCK))
        with pytest.raises(LockUnavailable, match=rf"^{folder}/vms\.lock: cannot be locked: No locks available$"):
            file.lock(0, 1)

    def test_closing_twice_closes_nobody_elses_file(self, folder: str) -> None:
        file = LockFile(folder)
        closed = [file.closed]
        file.close()
        closed.append(file.closed)
        assert closed == [False, True]
        taken = os.open("/dev/null", os.O_RDONLY)
        file.close()
        os.close(taken)  # it is still there


class TestContent:
    def test_bytes_are_read_and_written_at_a_place(self, folder: str) -> None:
        file = LockFile(folder)
        assert (file.size(), file.read(10, 0)) == (0, b"")
        file.write(b"abcdef", 0)
        file.write(b"XY", 2)
        assert (file.size(), file.read(3, 1), file.read(10, 4)) == (6, b"bXY", b"ef")
        file.replace(b"new")
        assert (file.size(), file.read(10, 0)) == (3, b"new")
        file.close()

    def test_a_full_disk_is_an_error(self, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
        file = LockFile(folder)
        monkeypatch.setattr(os, "pwrite", failing(errno.ENOSPC))
        with pytest.raises(LockUnavailable, match=rf"^{folder}/vms\.lock: cannot be written: No space left on device$"):
            file.write(b"x", 0)


class TestHolder:
    @pytest.mark.parametrize(
        ("words", "program"),
        [
            (["/usr/bin/vminterface", "push", "work"], "vminterface push work"),
            (["/usr/lib/vminterface/cli/__main__.py", "watch"], "cli watch"),
            (["-c"], "-c"),
            ([""], "python"),
            ([], "python"),
            (["/usr/bin/salt-call", "x" * 200], f"salt-call {'x' * 87}..."),
        ],
    )
    def test_the_line_of_this_program_has_process_time_and_command(
        self, folder: str, monkeypatch: pytest.MonkeyPatch, words: list[str], program: str
    ) -> None:
        monkeypatch.setattr(sys, "argv", words)
        file = LockFile(folder)
        process, since, rest = file.holder().split(" ", 2)
        assert (process, rest) == (str(os.getpid()), program)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", since)
        assert abs(time.mktime(time.strptime(since, "%Y-%m-%dT%H:%M:%S")) - time.time()) < 60
        file.close()
