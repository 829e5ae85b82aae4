"""The machine: files below a root, whole or not at all, and programs with a deadline."""

from __future__ import annotations

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vminterface.errors import DeadlineExceeded, OutputTooLarge, ProgramFailed, ProgramMissing, VMInterfaceError
from vminterface.vm.machine import CLOCK_OFFSET, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "etc").mkdir()
    return Machine(str(tmp_path))


def test_files_live_below_the_root(machine: Machine, tmp_path: Path) -> None:
    machine.write_file("/var/lib/x/file", "text\n", 0o640)
    assert (tmp_path / "var/lib/x/file").read_text() == "text\n"
    assert (tmp_path / "var/lib/x/file").stat().st_mode & 0o777 == 0o640
    assert machine.read_text("/var/lib/x/file") == "text\n"
    assert machine.read_text("/var/lib/x/none") is None
    assert machine.names("/var/lib/x") == ["file"]


def test_of_the_whole_machine_every_link_may_be_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    whole = Machine()
    whole.write_file(f"{tmp_path}/link/file", "text\n")
    assert (tmp_path / "elsewhere/file").read_text() == whole.read_text(f"{tmp_path}/link/file") == "text\n"
    assert whole.names(f"{tmp_path}/link/") == ["file"]
    assert whole.path("/") == "/"
    with pytest.raises(VMInterfaceError, match="expected an absolute path"):
        whole.path("etc")


def test_a_file_keeps_its_mode_and_leaves_nothing_beside_it(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "etc/hosts").write_text("old")
    (tmp_path / "etc/hosts").chmod(0o604)
    machine.write_file("/etc/hosts", "new", 0o600)
    assert (tmp_path / "etc/hosts").stat().st_mode & 0o777 == 0o604
    assert os.listdir(tmp_path / "etc") == ["hosts"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.allow_skip
def test_a_file_keeps_its_owner(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "etc/hosts").write_text("old")
    os.chown(tmp_path / "etc/hosts", 1234, 4321)
    machine.write_file("/etc/hosts", "new")
    status = (tmp_path / "etc/hosts").stat()
    assert (status.st_uid, status.st_gid) == (1234, 4321)


def test_a_link_is_replaced_and_what_it_led_to_stays(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "etc/real").write_text("real")
    (tmp_path / "etc/link").symlink_to("real")
    machine.write_file("/etc/link", "new")
    assert not (tmp_path / "etc/link").is_symlink()
    assert (tmp_path / "etc/real").read_text() == "real"


@pytest.mark.parametrize("way", ["/out/file", "/etc/../out/file", "/up/file"])
def test_no_link_leads_out_of_the_root(machine: Machine, tmp_path: Path, way: str) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "file").write_text("not ours")
    (tmp_path / "out").symlink_to(outside)
    (tmp_path / "up").symlink_to(f"../{outside.name}")
    for attempt in (
        lambda: machine.read_text(way),
        lambda: machine.write_file(way, "x"),
        lambda: machine.touch(way + "2"),
        lambda: machine.remove(way),
        lambda: machine.symlink("x", way),
        lambda: machine.exists(way),
    ):
        with pytest.raises(VMInterfaceError, match="leads out of the machine's root"):
            attempt()
    assert os.listdir(outside) == ["file"]
    (tmp_path / "etc/passwd").symlink_to("/etc/passwd")
    with pytest.raises(VMInterfaceError, match="leads out"):
        machine.read_text("/etc/passwd")


def test_dots_cannot_climb_above_the_root(machine: Machine) -> None:
    with pytest.raises(VMInterfaceError, match="out of the machine's root"):
        machine.read_text("/../../etc/passwd")
    with pytest.raises(VMInterfaceError, match="expected an absolute path"):
        machine.read_text("etc/passwd")


def test_the_systems_errors_become_one_sentence(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "etc/folder").mkdir()
    with pytest.raises(VMInterfaceError, match=r"^/etc/folder: Is a directory$"):
        machine.write_file("/etc/folder", "x")
    assert os.listdir(tmp_path / "etc") == ["folder"]
    machine.write_file("/etc/long", "x" * 11)
    with pytest.raises(VMInterfaceError, match="longer than 10 bytes"):
        machine.read_text("/etc/long", limit=10)


def test_a_link_is_made_in_the_place_of_a_file(machine: Machine, tmp_path: Path) -> None:
    machine.write_file("/etc/localtime", "x")
    machine.symlink("../usr/x", "/etc/localtime")
    assert os.readlink(tmp_path / "etc/localtime") == "../usr/x"
    assert machine.link_target("/etc/localtime") == "../usr/x"
    assert not machine.exists("/etc/localtime")


@pytest.mark.parametrize("other", [False, True])
def test_a_copy_is_the_file_or_link_as_it_is(tmp_path: Path, other: bool) -> None:
    target = Path("/dev/shm") if other else tmp_path
    if other and target.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system here")
    with tempfile.TemporaryDirectory(dir=target) as folder:
        machine, to = Machine(), Path(folder, "below/copy")
        for name in ("file", "link"):
            source = tmp_path / name
            if name == "file":
                source.write_text("content")
                source.chmod(0o4711)
            else:
                source.symlink_to("leads nowhere")
            for _ in range(2):
                machine.copy(str(source), str(to))
                assert to.lstat().st_mode == source.lstat().st_mode
                assert os.listdir(to.parent) == ["copy"]
        assert to.readlink() == Path("leads nowhere")
        with pytest.raises(VMInterfaceError, match="/none: No such file"):
            machine.copy(str(tmp_path / "none"), str(to))
        assert os.listdir(to.parent) == ["copy"]


def test_touch_makes_a_file_once_and_remove_takes_it_away(machine: Machine) -> None:
    machine.touch("/run/x/y")
    machine.write_file("/run/x/y", "content")
    machine.touch("/run/x/y")
    assert machine.read_text("/run/x/y") == "content"
    machine.remove("/run/x/y")
    machine.remove("/run/x/y")
    machine.remove("/nowhere/at/all")
    assert not machine.exists("/run/x/y")


@pytest.mark.parametrize("state", ["file", "link", "nothing"])
def test_what_is_kept_can_be_put_back(machine: Machine, state: str) -> None:
    if state == "file":
        machine.write_file("/etc/it", b"\xff\x00", 0o600)
    elif state == "link":
        machine.symlink("elsewhere", "/etc/it")
    put_back = machine.keep("/etc/it")
    for change in (lambda: machine.write_file("/etc/it", "x"), lambda: machine.symlink("y", "/etc/it")):
        change()
        put_back()
        assert machine.link_target("/etc/it") == ("elsewhere" if state == "link" else None)
        assert machine.read_bytes("/etc/it") == (b"\xff\x00" if state == "file" else None)


@pytest.mark.parametrize("folder", ["/etc/qubes/protected-files.d", "/rw/config/protected-files.d"])
def test_a_file_is_protected_by_a_whole_line_only(machine: Machine, folder: str) -> None:
    assert not machine.is_protected("/etc/hosts")
    machine.write_file(f"{folder}/10-mine", "# /etc/hosts\n/etc/hosts.allow\n /etc/hosts\n/etc/hostname")
    assert not machine.is_protected("/etc/hosts")
    assert machine.is_protected("/etc/hostname")
    machine.write_file(f"{folder}/20-mine", "/etc/hosts\n")
    assert machine.is_protected("/etc/hosts")


def test_a_program_is_fed_and_heard() -> None:
    machine = Machine()
    data = os.urandom(300_000)
    assert machine.run(["cat"], input=data) == data
    assert machine.run(["sh", "-c", "echo $LC_ALL $EXTRA"], env={"EXTRA": "more"}) == b"C more\n"


def test_a_program_that_fails_says_why_in_one_line() -> None:
    with pytest.raises(ProgramFailed, match=r"^sh ended with status 3: no; \\x1b\[0m!$"):
        Machine().run(["sh", "-c", r"printf 'no\n\033[0m!\n' >&2; exit 3"])
    with pytest.raises(ProgramMissing, match="no-such-program is not installed"):
        Machine().run(["no-such-program"])
    with pytest.raises(OutputTooLarge):
        Machine().run(["cat", "/dev/zero"], limit=1000)


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        Machine().run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], timeout=0.3)
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 5
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_clock_of_a_machine_below_a_root_is_an_offset(machine: Machine) -> None:
    assert abs((machine.now() - datetime.now(UTC)).total_seconds()) < 5
    wanted = datetime(2031, 2, 3, 4, 5, 6, 789, UTC)
    machine.set_clock(wanted)
    assert 0 <= (machine.now() - wanted).total_seconds() < 5
    assert machine.read_text(CLOCK_OFFSET) is not None


def test_a_whole_machine_with_a_clock_of_its_own_has_it_set(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(time, "clock_settime_ns", lambda clock, moment: told.append((clock, moment)))
    monkeypatch.setattr(Machine, "is_whole", True)
    machine.set_clock(datetime(2031, 2, 3, 4, 5, 6, 789, UTC))
    assert told == [(time.CLOCK_REALTIME, 1927857906000789000)]
    assert machine.read_text(CLOCK_OFFSET) is None


def test_a_whole_machine_that_shares_a_clock_keeps_an_offset(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_settime_ns", lambda *_: pytest.fail("the machine's clock was set"))
    monkeypatch.setattr(Machine, "is_whole", True)
    machine.write_file(CLOCK_OFFSET, "0\n")
    wanted = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    machine.set_clock(wanted)
    assert 0 <= (machine.now() - wanted).total_seconds() < 5


def test_a_clock_that_may_not_be_set_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(time, "clock_settime_ns", refuse)
    monkeypatch.setattr(Machine, "is_whole", True)
    with pytest.raises(VMInterfaceError, match=r"^the clock: Operation not permitted$"):
        machine.set_clock(datetime(2031, 2, 3, tzinfo=UTC))


def test_a_file_of_the_kernel_is_written_in_place_and_never_made(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    with pytest.raises(VMInterfaceError, match="/sys/unbind: No such file"):
        machine.write_attribute("/sys/unbind", "x")
    (tmp_path / "sys/unbind").write_text("")
    inode = (tmp_path / "sys/unbind").stat().st_ino
    machine.write_attribute("/sys/unbind", "0000:00:06.0")
    assert (tmp_path / "sys/unbind").read_text() == "0000:00:06.0"
    assert (tmp_path / "sys/unbind").stat().st_ino == inode
