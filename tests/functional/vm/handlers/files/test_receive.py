"""Receiving a file copy into a real folder: all of it or the error, nothing outside, nothing half, little memory."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import seeds
from tests.support.qfilestream import END, TIME_NS, file, folder, link, raw
from vminterface.errors import InvalidValue
from vminterface.vm.handlers.files import tree
from vminterface.vm.handlers.files.receive import Terms, open_incoming, receive, serve
from vminterface.wire.qfile import Entry, Packer
from vminterface.wire.qfile_result import LEGAL_EOF, Result

QUICK = Terms(sync=False)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Path]:
    """A folder to receive into, beside one that must not be touched."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"untouched")
    (tmp_path / "box").mkdir()
    yield tmp_path / "box"
    assert [p.name for p in tmp_path.iterdir()] in (["box", "outside"], ["outside", "box"])
    assert {p.name: p.read_bytes() for p in (tmp_path / "outside").iterdir()} == {"secret": b"untouched"}


@pytest.fixture(params=["unnamed", "exclusive"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to create a file: unnamed until it is whole, and where there are no unnamed files."""
    if request.param == "exclusive":
        monkeypatch.setattr(tree.Tree, "open_unnamed", lambda self, parent: -1)
    return str(request.param)


def take(box: Path, data: bytes, terms: Terms = QUICK) -> Result:
    """Receive *data* from a pipe that is closed after it."""
    target = os.open(box, os.O_RDONLY)
    try:
        return take_into(target, data, terms)
    finally:
        os.close(target)


def take_into(target: int, data: bytes, terms: Terms = QUICK) -> Result:
    """Receive *data* into the open folder *target*."""
    reader, writer = os.pipe()

    def write() -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(writer, rest) :]
        except BrokenPipeError:
            pass
        finally:
            os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return receive(reader, target, terms)
    finally:
        os.close(reader)
        thread.join()


def content(box: Path) -> dict[str, Any]:
    return {
        str(p.relative_to(box)): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
        for p in box.rglob("*")
    }


def test_a_tree_arrives_with_permissions_and_times(box: Path, way: str) -> None:
    sent = folder(b"d", 0o500) + folder(b"d/e", 0o711) + file(b"d/e/f", b"x" * 5, 0o640) + link(b"d/e/l", b"../g")
    sent += folder(b"d/e", 0o711) + file(b"d/g", b"", 0o444) + folder(b"d", 0o500) + END
    assert take(box, sent).code == 0
    assert content(box) == {"d": None, "d/e": None, "d/e/f": b"xxxxx", "d/e/l": "../g", "d/g": b""}
    for name, mode in {"d": 0o500, "d/e": 0o711, "d/e/f": 0o640, "d/g": 0o444}.items():
        found = (box / name).stat()
        assert stat.S_IMODE(found.st_mode) == mode
        assert found.st_mtime_ns == TIME_NS
    (box / "d").chmod(0o700)


def test_times_keep_their_nanoseconds(box: Path) -> None:
    start = Entry(b"f", 0o100600, 0, 2**32 * 10**9 - 1, 1_000_000_007)
    packer = Packer()
    assert take(box, packer.entry(start) + packer.end()) == Result(0, packer.crc, b"f")
    assert (box / "f").stat().st_mtime_ns == 1_000_000_007


def test_large_content_arrives_whole(box: Path, way: str) -> None:
    data = random.Random(1).randbytes(5_000_001)
    assert take(box, file(b"big", data) + file(b"next", b"1") + END).code == 0
    assert content(box) == {"big": data, "next": b"1"}


def test_room_is_set_aside_step_by_step_and_changes_nothing_of_the_file(
    box: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "RESERVED", 1 << 20)
    monkeypatch.setattr(tree, "RESERVED_FROM", 1 << 16)
    reserved = []
    reserve = tree.PartialFile._reserve

    def noted(partial: Any) -> None:
        reserve(partial)
        reserved.append(os.fstat(partial.fd).st_size)

    monkeypatch.setattr(tree.PartialFile, "_reserve", noted)
    data = random.Random(1).randbytes((7 << 19) + 5)
    assert take(box, file(b"large", data) + END).code == 0
    assert (box / "large").read_bytes() == data
    assert len(reserved) >= 3
    assert reserved[0] == 0  # a file does not look larger than what has come of it
    assert (box / "large").stat().st_blocks * 512 <= len(data) + (1 << 16)


def test_a_size_that_no_disk_has_room_for_is_told_when_the_content_ends(box: Path, way: str) -> None:
    whole = raw(b"vast", 0o100600, bytes(1 << 20), size=1 << 62)
    assert take(box, whole).code == LEGAL_EOF
    assert content(box) == {}


def test_set_user_id_and_its_like_are_applied_only_when_asked_for(box: Path) -> None:
    take(box, file(b"a", b"", 0o6755) + END)
    take(box, file(b"b", b"", 0o6755) + END, Terms(sync=False, keep_special_modes=True))
    assert stat.S_IMODE((box / "a").stat().st_mode) == 0o755
    assert stat.S_IMODE((box / "b").stat().st_mode) == 0o6755


def test_a_folder_is_closed_to_others_until_its_second_header(box: Path) -> None:
    assert take(box, folder(b"d", 0o777) + file(b"d/f") + END).code == 0
    assert stat.S_IMODE((box / "d").stat().st_mode) == 0o700


def test_folders_that_are_there_are_merged_and_keep_their_permissions_until_the_second_header(box: Path) -> None:
    (box / "d").mkdir(0o750)
    (box / "d" / "old").write_bytes(b"old")
    assert take(box, folder(b"d", 0o500) + file(b"d/new", b"new")).code == errno.EREMOTEIO
    assert stat.S_IMODE((box / "d").stat().st_mode) == 0o750
    assert content(box) == {"d": None, "d/old": b"old", "d/new": b"new"}


@pytest.mark.parametrize("there", ["file", "folder", "link", "dangling"])
def test_what_is_there_is_never_replaced(box: Path, way: str, there: str) -> None:
    makers: dict[str, Callable[[], object]] = {
        "file": lambda: (box / "f").write_bytes(b"mine"),
        "folder": lambda: (box / "f").mkdir(),
        "link": lambda: (box / "f").symlink_to("../outside/secret"),
        "dangling": lambda: (box / "f").symlink_to("../outside/new"),
    }
    makers[there]()
    before = content(box)
    result = take(box, file(b"f", b"theirs") + END)
    assert (result.code, result.name) == (errno.EEXIST, b"f")
    assert content(box) == before


def test_the_answer_about_a_file_that_is_there_has_exact_bytes(box: Path) -> None:
    (box / "a.txt").write_bytes(b"mine")
    result = take(box, file(b"a.txt", b"hi\n") + END)
    assert result.render() == bytes.fromhex("1100000000000000b81d60a000000000 05000000612e747874")


def test_a_name_taken_while_the_file_came_is_not_replaced(box: Path, way: str) -> None:
    reader, writer = os.pipe()
    target = os.open(box, os.O_RDONLY)
    results = []
    thread = threading.Thread(target=lambda: results.append(receive(reader, target, QUICK)))
    thread.start()
    data = file(b"f", b"x" * 10)
    os.write(writer, data[:-5])
    time.sleep(0.2)
    if way == "unnamed":
        assert list(box.iterdir()) == []
        (box / "f").write_bytes(b"mine")
    else:
        assert stat.S_IMODE((box / "f").stat().st_mode) == 0
    os.write(writer, data[-5:] + END)
    os.close(writer)
    thread.join(10)
    assert results[0].code == (errno.EEXIST if way == "unnamed" else 0)
    assert (box / "f").read_bytes() == (b"mine" if way == "unnamed" else b"x" * 10)
    os.close(reader)
    os.close(target)


@pytest.mark.parametrize("name", [b"../outside/x", b"/tmp/x", b"a/../../outside/x", b"..", b"x\0/../../y", b""])
@pytest.mark.parametrize("make", [file, folder, lambda name: link(name, b"x")])
def test_names_that_lead_outside_are_refused(box: Path, make: Callable[..., Any], name: bytes) -> None:
    assert take(box, make(name) + END).code == errno.EILSEQ
    assert content(box) == {}


@pytest.mark.parametrize("target", [b"../outside", b"/etc", b"../../..", b"e/../../.."])
def test_links_that_lead_outside_are_refused(box: Path, target: bytes) -> None:
    assert take(box, folder(b"d") + link(b"d/l", target) + END).code == errno.ENOLINK
    assert content(box) == {"d": None}


def test_nothing_is_written_through_a_link(box: Path) -> None:
    (box / "d").mkdir()
    (box / "d" / "l").symlink_to("../../outside")
    for entry in (file(b"d/l/x"), folder(b"d/l/x"), link(b"d/l/x", b"y"), file(b"d/l/secret"), folder(b"d/l")):
        result = take(box, entry + END)
        assert (result.code, result.name) in ((errno.ENOTDIR, b"l"), (errno.ENOTDIR, b"d/l"))
    assert take(box, folder(b"d") + link(b"d/m", b"e") + file(b"d/m/x") + END).code == errno.ENOTDIR


def test_permissions_are_not_set_through_a_link_that_took_the_place_of_a_folder(box: Path) -> None:
    reader, writer = os.pipe()
    target = os.open(box, os.O_RDONLY)
    results = []
    thread = threading.Thread(target=lambda: results.append(receive(reader, target, QUICK)))
    thread.start()
    os.write(writer, folder(b"d", 0o777))
    while not (box / "d").exists():
        time.sleep(0.01)
    (box / "d").rmdir()
    (box / "d").symlink_to("../outside")
    before = (box.parent / "outside").stat().st_mode
    os.write(writer, folder(b"d", 0o777) + END)
    os.close(writer)
    thread.join(10)
    assert results[0].code == errno.ENOTDIR
    assert (box.parent / "outside").stat().st_mode == before
    os.close(reader)
    os.close(target)


@pytest.mark.parametrize(
    ("data", "code", "name"),
    [
        (file(b"no/f") + END, errno.ENOENT, b"no"),
        (file(b"f") + file(b"f/g") + END, errno.ENOTDIR, b"f"),
        (file(b"f") + file(b"f") + END, errno.EEXIST, b"f"),
        (folder(b"d") + folder(b"d") + file(b"d") + END, errno.EEXIST, b"d"),
        (file(b"f") + folder(b"f") + END, errno.ENOTDIR, b"f"),
        (file(b"x" * 256) + END, errno.ENAMETOOLONG, b"x" * 256),
        (raw(b"p", stat.S_IFIFO | 0o600) + END, errno.EINVAL, b"p"),
        (folder(b"d") + link(b"d/l", b"a") + link(b"d/l", b"a") + END, errno.EEXIST, b"d/l"),
        (b"", errno.EREMOTEIO, b""),
    ],
)
def test_refusals_of_the_folder_have_their_codes(box: Path, data: bytes, code: int, name: bytes) -> None:
    result = take(box, data)
    assert (result.code, result.name) == (code, name)


def test_a_stream_cut_anywhere_leaves_whole_files_only(box: Path, way: str) -> None:
    data = folder(b"d") + file(b"d/one", b"1" * 30) + link(b"d/l", b"one") + file(b"d/two", b"2" * 30) + folder(b"d")
    for length in range(len(data) + 1):
        place = box / str(length)
        place.mkdir()
        assert take(place, data[:length]).code in (errno.EREMOTEIO, LEGAL_EOF)
        for name, found in content(place).items():
            assert (name, found) in {("d", None), ("d/one", b"1" * 30), ("d/two", b"2" * 30), ("d/l", "one")}


def test_limits_are_kept_before_anything_is_written(box: Path) -> None:
    small = Terms(total_bytes=10, entries=3, sync=False)
    assert take(box, file(b"a", b"x" * 10) + END, small).code == 0
    for data in (file(b"b", b"x" * 11), file(b"c", b"x" * 6) + file(b"b", b"x" * 5), raw(b"b", 0o100600, size=2**62)):
        result = take(box, data, small)
        assert (result.code, result.name) == (errno.EDQUOT, b"b")
    many = folder(b"d") + file(b"d/1") + folder(b"d") + file(b"2") + link(b"d/l", b"1")
    assert take(box, many, small).name == b"d/l"
    assert sorted(content(box)) == ["2", "a", "c", "d", "d/1"]


def test_a_full_disk_is_an_error_and_leaves_nothing(box: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limit[1]))
    try:
        result = take(box, file(b"f", b"x" * 4_000_000) + END)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (result.code, result.name) == (errno.EFBIG, b"f")
    assert content(box) == {}


def test_a_silent_sender_is_given_up(box: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, file(b"f", b"x" * 10)[:-5])
    target = os.open(box, os.O_RDONLY)
    began = time.monotonic()
    result = receive(reader, target, Terms(sync=False, idle_timeout=0.2))
    assert time.monotonic() - began < 5
    assert result.code == errno.ETIMEDOUT
    assert content(box) == {}
    for fd in (reader, writer, target):
        os.close(fd)


def test_unusual_names_arrive_with_allow_all_names(box: Path) -> None:
    assert take(box, file(b"\xff\n") + END).code == errno.EILSEQ
    assert take(box, file(b"\xff\n") + END, Terms(sync=False, allow_all_names=True)).code == 0
    assert os.listdir(os.fsencode(box)) == [b"\xff\n"]


def test_a_name_with_thousands_of_folders_needs_no_thousands_of_descriptors(box: Path) -> None:
    data = b"".join(folder(b"/".join([b"d"] * depth)) for depth in range(1, 600))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit[1]))
    try:
        assert take(box, data + END).code == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_no_descriptor_is_left_open(box: Path) -> None:
    before = os.listdir("/proc/self/fd")
    good = folder(b"d") + folder(b"d/e") + file(b"d/e/f") + END
    for data in (good, file(b"d/e/f"), file(b"d/x/y"), file(b"g", b"xx")[:-1], file(b"h", b"x" * 3_000_000)[:-1]):
        take(box, data)
    assert os.listdir("/proc/self/fd") == before


def test_the_result_is_written_once_after_the_input_is_closed(box: Path) -> None:
    reader, writer = os.pipe()
    reply_reader, reply_writer = os.pipe()
    os.write(writer, file(b"a.txt", b"hi\n") + END)
    target = os.open(box, os.O_RDONLY)
    assert serve(reader, reply_writer, target).exit_status == 0
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(reply_writer)
    assert os.read(reply_reader, 100)[:16] == bytes.fromhex("0000000000000000f12d80b200000000")
    for fd in (writer, reply_reader, target):
        os.close(fd)


def test_a_sender_that_is_gone_takes_no_answer_and_does_no_harm(box: Path) -> None:
    reader, writer = os.pipe()
    reply_reader, reply_writer = os.pipe()
    os.close(reply_reader)
    os.write(writer, file(b"..") + END)
    target = os.open(box, os.O_RDONLY)
    assert serve(reader, reply_writer, target).exit_status == errno.EILSEQ
    for fd in (writer, reply_writer, target):
        os.close(fd)


def test_the_exit_status_is_the_code_modulo_256(tmp_path: Path) -> None:
    script = (
        "import os; from vminterface.vm.handlers.files.receive import serve; "
        f"raise SystemExit(serve(0, 1, os.open({str(tmp_path)!r}, os.O_RDONLY)).exit_status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=file(b"f", b"xx")[:-1],
        capture_output=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 118
    assert Result.parse(done.stdout).code == LEGAL_EOF


@pytest.mark.parametrize("source", ["..", "", "a/b", "1a", ".x", "a\n", "x" * 32, "a\0"])
def test_only_a_vm_name_names_an_incoming_folder(tmp_path: Path, source: str) -> None:
    with pytest.raises(InvalidValue):
        open_incoming(source, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_incoming_folder_is_made_for_the_user_alone_and_used_again(tmp_path: Path) -> None:
    for _ in range(2):
        os.close(open_incoming("sys-net", tmp_path))
    for path in (tmp_path / "QubesIncoming", tmp_path / "QubesIncoming" / "sys-net"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.fixture(params=["QubesIncoming", "QubesIncoming/work"])
def linked(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A name on the way to the incoming folder, which is to be a link, and its home."""
    place = tmp_path / "home" / str(request.param)
    place.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    return place


@pytest.mark.parametrize("absolute", [True, False])
def test_an_incoming_folder_that_is_a_link_of_the_users_own_is_followed(
    tmp_path: Path, linked: Path, absolute: bool
) -> None:
    target = tmp_path / "elsewhere"
    linked.symlink_to(target if absolute else os.path.relpath(target, linked.parent))
    folder = open_incoming("work", tmp_path / "home")
    desired = target if linked.name == "work" else target / "work"
    assert os.path.samestat(os.fstat(folder), desired.stat())
    assert take_into(folder, file(b"f", b"x") + END).code == 0
    assert (desired / "f").read_bytes() == b"x"
    # What was sent may hold links too; those are not followed.
    (desired / "l").symlink_to(tmp_path)
    assert take_into(folder, file(b"l/f") + END).code == errno.ENOTDIR
    os.close(folder)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("target", ["file", "nothing", "itself", None])
def test_an_incoming_folder_that_is_no_folder_or_a_link_to_none_is_refused(
    tmp_path: Path, linked: Path, target: str | None
) -> None:
    (tmp_path / "file").write_text("x")
    if target:
        linked.symlink_to({"file": tmp_path / "file", "nothing": tmp_path / "new", "itself": linked}[target])
    else:
        linked.write_text("x")
    with pytest.raises(InvalidValue, match="not a folder"):
        open_incoming("work", tmp_path / "home")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "file", "home"]


def test_an_incoming_folder_that_is_a_link_of_somebody_elses_is_refused(tmp_path: Path, linked: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives links away")
    linked.symlink_to(tmp_path / "elsewhere")
    os.chown(linked, 1000, 1000, follow_symlinks=False)
    with pytest.raises(InvalidValue, match="not a folder, nor your own link"):
        open_incoming("work", tmp_path / "home")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_memory_does_not_grow_with_the_transfer(box: Path) -> None:
    many = b"".join(file(b"%d" % n, b"x" * 100) for n in range(1000))
    data = file(b"big", bytes(40_000_000)) + many + END
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(writer, rest) :]
        os._exit(0)
    os.close(writer)
    target = os.open(box, os.O_RDONLY)
    tracemalloc.start()
    try:
        assert receive(reader, target, QUICK).code == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(target)


@pytest.mark.fuzz
def test_random_streams_leave_nothing_outside(box: Path) -> None:
    """What is random here are names and targets, by which a tree could be left; each run makes a tree of its own.

    That takes milliseconds, so they are 2,000. The parser alone gets its 100,000 in tests/unit/wire/test_qfile.py.
    """
    chance = seeds.chance("streams of files")
    names = [b"a", b"d", b"d/l", b"d/e", b"d/e/m", b"d/l/x", b"..", b"../outside/x", b"d/../x", b"/x", b"d/e/m/y"]
    targets = [b"e", b"..", b".", b"../e", b"../..", b"/", b"../../outside", b"l", b"a/.."]
    for turn in range(seeds.rounds(2_000)):
        place = box / str(turn)
        place.mkdir()
        data = b""
        for _ in range(chance.randrange(1, 10)):
            name = chance.choice(names)
            data += chance.choice([file(name, b"x"), folder(name), folder(name), link(name, chance.choice(targets))])
        result = take(place, data + END)
        assert 0 <= result.code < 200
        for path in place.rglob("*"):
            # Links may lead to each other in a circle.
            assert Path(os.path.realpath(path)).is_relative_to(place)


def test_the_pipe_is_made_large(box: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, END)
    target = os.open(box, os.O_RDONLY)
    receive(reader, target, QUICK)
    assert fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ) == 1 << 20
    for fd in (reader, writer, target):
        os.close(fd)


def test_nothing_of_a_missing_proc_is_needed(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def without_proc(path: Any, *args: Any, **named: Any) -> Any:
        if path == "/proc/self/fd":
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return real(path, *args, **named)

    monkeypatch.setattr(os, "open", without_proc)
    assert take(box, file(b"f", b"x") + END).code == 0
    assert content(Path(box)) == {"f": b"x"}
