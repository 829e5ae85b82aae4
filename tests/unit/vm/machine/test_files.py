"""Files below a root, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "etc").mkdir()
    return Files(str(tmp_path))


def test_files_live_below_the_root(files: Files, tmp_path: Path) -> None:
    files.write_file("/var/lib/x/file", "text\n", 0o640)
    assert (tmp_path / "var/lib/x/file").read_text() == "text\n"
    assert (tmp_path / "var/lib/x/file").stat().st_mode & 0o777 == 0o640
    assert files.read_text("/var/lib/x/file") == "text\n"
    assert files.read_text("/var/lib/x/none") is None
    assert files.names("/var/lib/x") == ["file"]


def test_of_the_whole_machine_every_link_may_be_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    whole = Files()
    whole.write_file(f"{tmp_path}/link/file", "text\n")
    assert (tmp_path / "elsewhere/file").read_text() == whole.read_text(f"{tmp_path}/link/file") == "text\n"
    assert whole.names(f"{tmp_path}/link/") == ["file"]
    assert whole.path("/") == "/"
    with pytest.raises(VMInterfaceError, match="is not an absolute path"):
        whole.path("etc")


def test_a_file_keeps_its_mode_and_leaves_nothing_beside_it(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/hosts").write_text("old")
    (tmp_path / "etc/hosts").chmod(0o604)
    files.write_file("/etc/hosts", "new", 0o600)
    assert (tmp_path / "etc/hosts").stat().st_mode & 0o777 == 0o604
    assert os.listdir(tmp_path / "etc") == ["hosts"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.allow_skip
def test_a_file_keeps_its_owner(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/hosts").write_text("old")
    os.chown(tmp_path / "etc/hosts", 1234, 4321)
    files.write_file("/etc/hosts", "new")
    status = (tmp_path / "etc/hosts").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_a_link_is_replaced_and_what_it_led_to_stays(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/real").write_text("real")
    (tmp_path / "etc/link").symlink_to("real")
    files.write_file("/etc/link", "new")
    assert not (tmp_path / "etc/link").is_symlink()
    assert (tmp_path / "etc/real").read_text() == "real"


@pytest.mark.parametrize("way", ["/out/file", "/etc/../out/file", "/up/file"])
def test_no_link_leads_out_of_the_root(files: Files, tmp_path: Path, way: str) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "file").write_text("not ours")
    (tmp_path / "out").symlink_to(outside)
    (tmp_path / "up").symlink_to(f"../{outside.name}")
    for attempt in (
        lambda: files.read_text(way),
        lambda: files.write_file(way, "x"),
        lambda: files.touch(way + "2"),
        lambda: files.remove(way),
        lambda: files.symlink("x", way),
        lambda: files.exists(way),
    ):
        with pytest.raises(VMInterfaceError, match="points outside the machine's root"):
            attempt()
    assert os.listdir(outside) == ["file"]
    (tmp_path / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(VMInterfaceError, match="points outside"):
        files.read_text("/etc/passwd")


def test_dots_cannot_climb_above_the_root(files: Files) -> None:
    with pytest.raises(VMInterfaceError, match="outside the machine's root"):
        files.read_text("/../../etc/passwd")
    with pytest.raises(VMInterfaceError, match="is not an absolute path"):
        files.read_text("etc/passwd")


def test_the_systems_errors_become_one_sentence(files: Files, tmp_path: Path) -> None:
    (tmp_path / "etc/folder").mkdir()
    with pytest.raises(VMInterfaceError, match=r"^/etc/folder: Is a directory$"):
        files.write_file("/etc/folder", "x")
    assert os.listdir(tmp_path / "etc") == ["folder"]
    files.write_file("/etc/long", "x" * 11)
    with pytest.raises(VMInterfaceError, match=r"is too long \(expected at most 10 bytes\)"):
        files.read_text("/etc/long", limit=10)


def test_a_link_is_made_in_the_place_of_a_file(files: Files, tmp_path: Path) -> None:
    files.write_file("/etc/localtime", "x")
    files.symlink("../usr/x", "/etc/localtime")
    assert os.readlink(tmp_path / "etc/localtime") == "../usr/x"
    assert files.link_target("/etc/localtime") == "../usr/x"
    assert not files.exists("/etc/localtime")


@pytest.mark.parametrize("other", [False, True])
def test_a_copy_is_the_file_or_link_as_it_is(tmp_path: Path, other: bool) -> None:
    target = Path("/dev/shm") if other else tmp_path
    if other and target.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    with tempfile.TemporaryDirectory(dir=target) as folder:
        files, to = Files(), Path(folder, "below/copy")
        for name in ("file", "link"):
            source = tmp_path / name
            if name == "file":
                source.write_text("content")
                source.chmod(0o4711)
            else:
                source.symlink_to("is a broken link")
            for _ in range(2):
                files.copy(str(source), str(to))
                assert to.lstat().st_mode == source.lstat().st_mode
                assert os.listdir(to.parent) == ["copy"]
        assert to.readlink() == Path("is a broken link")
        with pytest.raises(VMInterfaceError, match="/none: No such file"):
            files.copy(str(tmp_path / "none"), str(to))
        assert os.listdir(to.parent) == ["copy"]


def test_touch_makes_a_file_once_and_remove_takes_it_away(files: Files) -> None:
    files.touch("/run/x/y")
    files.write_file("/run/x/y", "content")
    files.touch("/run/x/y")
    assert files.read_text("/run/x/y") == "content"
    files.remove("/run/x/y")
    files.remove("/run/x/y")
    files.remove("/nowhere/at/all")
    assert not files.exists("/run/x/y")


@pytest.mark.parametrize("state", ["file", "link", "nothing"])
def test_what_is_kept_can_be_put_back(files: Files, state: str) -> None:
    if state == "file":
        files.write_file("/etc/it", b"\xff\x00", 0o600)
    elif state == "link":
        files.symlink("elsewhere", "/etc/it")
    put_back = files.keep("/etc/it")
    changes: list[Callable[[], object]] = [
        lambda: files.write_file("/etc/it", "x"),
        lambda: files.symlink("y", "/etc/it"),
    ]
    for change in changes:
        change()
        put_back()
        assert files.link_target("/etc/it") == ("elsewhere" if state == "link" else None)
        assert files.read_bytes("/etc/it") == (b"\xff\x00" if state == "file" else None)


def test_a_file_of_the_kernel_is_written_in_place_and_never_made(files: Files, tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    with pytest.raises(VMInterfaceError, match="/sys/unbind: No such file"):
        files.write_attribute("/sys/unbind", "x")
    (tmp_path / "sys/unbind").write_text("")
    inode = (tmp_path / "sys/unbind").stat().st_ino
    files.write_attribute("/sys/unbind", "0000:00:06.0")
    assert (tmp_path / "sys/unbind").read_text() == "0000:00:06.0"
    assert (tmp_path / "sys/unbind").stat().st_ino == inode
