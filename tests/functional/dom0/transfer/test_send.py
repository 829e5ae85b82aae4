"""Sending a file copy: what is sent is what is on the disk, and a receiver's word is heard while sending."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.qfilestream import events
from vminterface.channel import filecopy
from vminterface.dom0.transfer import send as filesend
from vminterface.dom0.transfer.send import BLOCK, JOINED, Sender, SourceError, Survey
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    InvalidValues,
    RemoteProtocolError,
)
from vminterface.vm.handlers.files.receive import Terms, serve
from vminterface.wire.qfile import Directory, End, EntryEnd, EntryStart, Symlink, Unpacker
from vminterface.wire.qfile_result import Refused, Result


def send(sender: Any, output: Any, reply: Any, *, progress: Any = None, **more: Any) -> Any:
    return filecopy.send(sender.chunks(progress), sender.packer, output, reply, **more)


def sent(sender: Sender) -> list[Any]:
    return events(Unpacker(allow_all_names=True), sender.chunks())


def without_access_times(found: list[Any]) -> list[Any]:
    """Return *found* with the times that reading changes set to 0."""
    return [e._replace(atime_ns=0) if isinstance(e, EntryStart | Directory) else e for e in found]


class Receiver:
    """A receiver in another process: it runs *work(input, answer)* and ends with the status that it returns."""

    def __init__(self, work: Callable[..., Any]) -> None:
        reader, self.output = os.pipe()
        self.reply, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 99
            try:
                os.close(self.output)
                os.close(self.reply)
                status = work(reader, writer)
            finally:
                os._exit(status)
        os.close(reader)
        os.close(writer)

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: None) -> None:
        os.close(self.reply)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


QUICK = Terms(sync=False)


def into(folder: Path, terms: Terms = QUICK) -> Callable[..., Any]:
    return lambda reader, writer: serve(reader, writer, os.open(folder, os.O_RDONLY), terms).exit_status


def picture(root: Path) -> dict[str, Any]:
    """Return what is below *root*: type, permissions, time, content."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        times = None if path.is_symlink() else info.st_mtime_ns
        found[str(path.relative_to(root))] = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), times, what)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "from" / "top"
    (top / "b").mkdir(parents=True)
    (top / "b" / "f").write_bytes(b"content")
    (top / "b" / "l").symlink_to("f")
    (top / "a").write_bytes(b"")
    os.utime(top / "b" / "f", ns=(5_000_000_007, 6_000_000_008))
    return top


def test_a_tree_is_sent_in_the_order_of_its_names_and_folders_twice(tree: Path) -> None:
    names = [(type(e), e.path) for e in sent(Sender([tree])) if isinstance(e, EntryStart | Directory | Symlink)]
    assert names == [
        (Directory, b"top"),
        (EntryStart, b"top/a"),
        (Directory, b"top/b"),
        (EntryStart, b"top/b/f"),
        (Symlink, b"top/b/l"),
        (Directory, b"top/b"),
        (Directory, b"top"),
    ]


def test_permissions_times_and_content_are_sent(tree: Path) -> None:
    (tree / "b" / "f").chmod(0o751)
    found = sent(Sender([str(tree / "b" / "f")]))
    assert found == [EntryStart(b"f", 0o100751, 7, 5_000_000_007, 6_000_000_008), b"content", EntryEnd(), End()]


def test_a_trailing_slash_and_a_dot_change_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    first, *others = (without_access_times(sent(Sender([path]))) for path in (tree, f"{tree}/", ".", os.fsencode(tree)))
    assert others == [first] * 3


def test_a_survey_counts_and_finds_names_that_need_all_names(tree: Path) -> None:
    assert Sender([tree]).survey() == Survey(7, None, ())
    (tree / "b" / "\u202e").write_bytes(b"123")
    assert Sender([tree]).survey() == Survey(10, os.fsencode(tree / "b" / "\u202e"), (), True)


def test_a_survey_finds_names_that_another_receiver_may_not_know(tree: Path) -> None:
    (tree / "é").symlink_to("a")
    assert Sender([tree]).survey() == Survey(7, None, (), True)
    assert not Sender([tree], skip_links=True).survey().may_need_all_names


def test_link_targets_may_need_all_names_too(tree: Path) -> None:
    (tree / "b" / "m").symlink_to("\u202e")
    assert Sender([tree]).survey().needs_all_names
    assert not Sender([tree], skip_links=True).survey().needs_all_names


def test_a_link_that_goes_up_behind_a_dot_is_sent(tree: Path) -> None:
    (tree / "b" / "up").symlink_to("./../a")
    assert Symlink(b"%s/b/up" % os.fsencode(tree.name), b"./../a") in sent(Sender([tree]))


def test_sockets_and_pipes_are_left_out_and_noted(tree: Path) -> None:
    before = without_access_times(sent(Sender([tree / "b"]))[1:-2])
    os.mkfifo(tree / "b" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "b" / "sock"))
        assert Sender([tree]).survey().skipped == (os.fsencode(tree / "b/pipe"), os.fsencode(tree / "b/sock"))
        assert without_access_times(sent(Sender([tree / "b"]))[1:-2]) == before


def test_what_is_named_itself_and_cannot_be_sent_is_an_error(tree: Path) -> None:
    """Left out, nothing would be sent, and nobody would be told why."""
    os.mkfifo(tree / "pipe")
    (tree / "null").symlink_to("/dev/null")
    for path, options in ((tree / "pipe", {}), (Path("/dev/null"), {}), (tree / "null", {"follow_links": True})):
        expected = f"{path}: cannot be sent (expected a file, a folder or a symbolic link)"
        with pytest.raises(InvalidValues) as caught:
            Sender([tree / "b", path], **options).survey()
        assert [str(error) for error in caught.value.errors] == [expected]
        with pytest.raises(InvalidValue) as raised:
            sent(Sender([path], **options))
        assert str(raised.value) == expected


def test_links_that_a_receiver_refuses_are_all_found_before_anything_is_sent(tree: Path) -> None:
    (tree / "b" / "out").symlink_to("../../x")
    (tree / "abs").symlink_to("/etc/passwd")
    with pytest.raises(InvalidValues) as caught:
        Sender([tree]).survey()
    assert [str(f).split(":")[0] for f in caught.value.errors] == [str(tree / "abs"), str(tree / "b" / "out")]
    assert Sender([tree], skip_links=True).survey().skipped == tuple(
        os.fsencode(tree / name) for name in ("abs", "b/l", "b/out")
    )


@pytest.fixture
def outside(tmp_path: Path, tree: Path) -> Path:
    """A folder beside ``top``, with a link inside it and one out of it; ``top/b/out`` leads to it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("outside")
    (folder / "deep" / "up").symlink_to("../beside")
    (folder / "deep" / "far").symlink_to(tmp_path / "far")
    (folder / "beside").write_text("beside")
    (tmp_path / "far").write_text("far")
    (tree / "b" / "out").symlink_to("../../../outside")
    return folder


def kinds(sender: Sender) -> dict[bytes, Any]:
    return {e.path: e for e in sent(sender) if isinstance(e, EntryStart | Directory | Symlink)}


def test_links_that_lead_out_are_followed_and_those_within_stay_links(tree: Path, outside: Path) -> None:
    (tree / "abs").symlink_to(tree / "a")
    (tree / "b" / "within").symlink_to("../a")
    found = kinds(Sender([tree], follow_links=True))
    assert {name for name, e in found.items() if isinstance(e, Symlink)} == {
        b"top/b/l", b"top/b/within", b"top/b/out/deep/up",
    }  # fmt: skip
    assert [found[name].size for name in (b"top/abs", b"top/b/out/deep/far", b"top/b/out/deep/file")] == [0, 3, 7]
    assert isinstance(found[b"top/b/out"], Directory)
    assert Sender([tree], follow_links=True).survey() == Survey(23, None, ())


def test_a_link_in_a_followed_folder_counts_from_that_folder(tmp_path: Path, tree: Path, outside: Path) -> None:
    """As ``top/b/out/back`` it would stay in ``top``, and there lead to another file than here."""
    (outside / "back").symlink_to("../far")
    assert isinstance(kinds(Sender([tree], follow_links=True))[b"top/b/out/back"], EntryStart)


def test_a_path_that_is_a_link_itself_is_followed(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "link").symlink_to("from/top")
    assert set(kinds(Sender([tmp_path / "link"], follow_links=True))) == {
        b"link", b"link/a", b"link/b", b"link/b/f", b"link/b/l",
    }  # fmt: skip


def test_links_that_cannot_be_followed_are_all_named_before_anything_is_sent(tree: Path) -> None:
    (tree / "dangling").symlink_to("/nonexistent/x")
    (tree / "loop").symlink_to(tree / "loop")
    (tree / "b" / "self").symlink_to(tree / "b")
    with pytest.raises(InvalidValues) as caught:
        Sender([tree], follow_links=True).survey()
    without_end = "points to a folder that contains it (following it would never end)"
    assert [str(fault) for fault in caught.value.errors] == [
        f"{tree}/b/self: the symbolic link to {tree}/b {without_end}",
        f"{tree}/dangling: the symbolic link to /nonexistent/x cannot be followed: No such file or directory",
        f"{tree}/loop: the symbolic link to {tree}/loop cannot be followed: Too many levels of symbolic links",
    ]


def test_links_that_lead_to_each_others_folders_are_no_endless_walk(tree: Path, outside: Path) -> None:
    (outside / "back").symlink_to(tree)
    with pytest.raises(
        InvalidValue, match=r"/outside/back: the symbolic link to \S+/top points to a folder that contains it"
    ):
        Sender([tree], follow_links=True).survey()


def test_links_that_double_with_each_folder_are_bounded(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 40 folders has two links to the next: 2^40 copies of the last, and no loop."""
    monkeypatch.setattr(filesend, "FOLLOWED", 500)
    for number in range(40):
        (tmp_path / f"d{number}").mkdir()
        for name in "xy":
            (tmp_path / f"d{number}" / name).symlink_to(tmp_path / f"d{number + 1}")
    (tmp_path / "d40").mkdir()
    with pytest.raises(InvalidValue, match=r"more than 500 entries are reached by followed links"):
        Sender([tmp_path / "d0"], follow_links=True).survey()


def test_a_link_to_a_device_is_left_out_and_noted_by_the_links_name(tree: Path) -> None:
    (tree / "null").symlink_to("/dev/null")
    assert Sender([tree], follow_links=True).survey().skipped == (os.fsencode(tree / "null"),)


def test_a_name_that_few_receivers_take_is_that_of_the_link_which_is_followed(tree: Any, outside: Any) -> None:
    (tree / "odd\a").symlink_to(outside / "beside")
    assert Sender([tree], follow_links=True).survey().needs_all_names == os.fsencode(tree / "odd\a")


def test_links_are_not_left_out_and_followed_at_once(tree: Path) -> None:
    with pytest.raises(InvalidValue, match="skip_links and follow_links cannot be used together"):
        Sender([tree], skip_links=True, follow_links=True)


@pytest.mark.parametrize("paths", [[], ["/"], ["/tmp/a", "/var/a"]])
def test_paths_that_cannot_be_told_apart_or_named_are_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidValue):
        Sender(paths)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/gone\\x1b: cannot be read: No such file or directory$"):
        Sender([tmp_path / "gone\x1b"]).survey()


def test_an_error_names_the_file_however_deep_it_is(tmp_path: Path) -> None:
    deep = tmp_path / "/".join(["a folder"] * 40)
    deep.mkdir(parents=True)
    (deep / "out").symlink_to("/far")
    with pytest.raises(InvalidValue, match=r"^\.\.\./a folder/.*/a folder/out: '/far': a symbolic link to an absolute"):
        Sender([tmp_path / "a folder"]).survey()
    with pytest.raises(SourceError, match=r"^\.\.\./a folder/.*/a folder/gone: cannot be read: No such file"):
        Sender([deep / "gone"]).survey()


def change_after(sender: Sender, change: Callable[[], object]) -> None:
    """Take the stream up to the first data, change the file, take the rest."""
    changed = False
    for chunk in sender.chunks():
        if not changed and b"x" * 10 in chunk:
            change()
            changed = True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: os.truncate(path, 300_000), "shrank while being sent"),
        (lambda path: os.truncate(path, 0), "shrank while being sent"),
        (lambda path: path.open("ab").write(b"more"), "changed its size"),
    ],
)
def test_a_file_that_changes_its_size_ends_the_transfer(tmp_path: Path, change: Callable[..., Any], words: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 600_000)
    with pytest.raises(SourceError, match=words):
        change_after(Sender([path]), lambda: change(path))


@pytest.mark.parametrize("size", [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("by", [1, -1, 300_000])
def test_a_file_that_changes_its_size_before_it_is_read_ends_the_transfer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, by: int
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * size)
    examined = os.fstat

    def change(fd: int) -> os.stat_result:
        found = examined(fd)
        os.truncate(path, max(0, size + by))
        return found

    monkeypatch.setattr(os, "fstat", change)
    if size + by < 0:
        assert sent(Sender([path]))[0].size == 0
        return
    with pytest.raises(SourceError, match="changed its size" if by > 0 else "shrank while being sent"):
        list(Sender([path]).chunks())


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_a_file_of_any_size_is_sent_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)
    start, *pieces, _, _ = sent(Sender([tmp_path / "f"]))
    assert (start.size, b"".join(pieces)) == (size, content)


def test_a_file_without_a_size_is_not_sent_as_an_empty_one() -> None:
    """The kernel's own files have content, and 0 bytes."""
    with pytest.raises(SourceError, match=r"/proc/self/status: changed its size of 0 bytes while being sent"):
        list(Sender(["/proc/self/status"]).chunks())


def test_a_file_that_vanishes_before_its_turn_ends_the_transfer(tree: Path) -> None:
    (tree / "a").write_bytes(b"x" * JOINED)
    with pytest.raises(SourceError, match="cannot be read"):
        change_after(Sender([tree]), lambda: os.rename(tree / "b", tree / "c"))


def test_a_pipe_that_took_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        (tmp_path / "d" / name).write_bytes(b"x" * JOINED)

    def swap() -> None:
        (tmp_path / "d" / "b").unlink()
        os.mkfifo(tmp_path / "d" / "b")

    with pytest.raises(SourceError, match="is no longer a regular file"):
        change_after(Sender([tmp_path / "d"]), swap)


def test_progress_is_told_in_bytes_of_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(600_000))
    sender = Sender([tmp_path / "f"])
    total = sender.survey().total_bytes
    told = []
    for _ in sender.chunks(lambda done, of: told.append((done, of)), total):
        pass
    assert told[-1] == (600_000, 600_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_tree_arrives_in_another_process_as_it_was(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tree / "big").write_bytes(os.urandom(3_000_000))
    sender = Sender([tree])
    with Receiver(into(tmp_path / "to")) as receiver:
        result = send(sender, receiver.output, receiver.reply)
    assert receiver.status == 0
    assert result == Result(0, sender.crc, b"top")
    assert picture(tmp_path / "to") == picture(tmp_path / "from")


def test_an_early_error_stops_a_sender_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """The file is so large that sending all of it would take far longer than the test may."""
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "big").write_bytes(b"mine")
    with (tmp_path / "big").open("wb") as big:
        big.truncate(1 << 40)
    told = []
    with Receiver(into(tmp_path / "to")) as receiver, pytest.raises(Refused) as caught:
        send(Sender([tmp_path / "big"]), receiver.output, receiver.reply, progress=lambda done, _: told.append(done))
    assert (caught.value.code, caught.value.name) == (errno.EEXIST, b"big")
    assert receiver.status == errno.EEXIST
    assert told[-1] < 1 << 32
    assert (tmp_path / "to" / "big").read_bytes() == b"mine"


def test_a_full_receiver_is_heard_too(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    with (tmp_path / "big").open("wb") as big:
        big.truncate(1 << 40)
    with Receiver(into(tmp_path / "to", Terms(total_bytes=1 << 30))) as receiver, pytest.raises(Refused, match="QUOT"):
        send(Sender([tmp_path / "big"]), receiver.output, receiver.reply)
    assert list((tmp_path / "to").iterdir()) == []


def replies(data: bytes, *, read_all: bool) -> Callable[..., Any]:
    def work(reader: Any, writer: Any) -> Any:
        while read_all and os.read(reader, 1 << 16):
            pass
        os.write(writer, data) if data else None
        return 0

    return work


@pytest.mark.parametrize("read_all", [True, False])
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", ConnectionLost),
        (b"\0" * 15, RemoteProtocolError),
        (b"\0" * 17, RemoteProtocolError),
        (b"\0" * 16, RemoteProtocolError),
        (b"\xff" * 40_000, RemoteProtocolError),
    ],
)
def test_an_answer_that_is_none_is_an_error(tree: Path, data: bytes, error: type[Any], read_all: bool) -> None:
    (tree / "big").write_bytes(bytes(3_000_000))
    with Receiver(replies(data, read_all=read_all)) as receiver, pytest.raises(error):
        send(Sender([tree]), receiver.output, receiver.reply)


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_receiver_that_hangs_costs_the_deadline_once(tmp_path: Path, size: int) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    reader, output = os.pipe()
    reply, writer = os.pipe()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        send(Sender([tmp_path / "f"]), output, reply, idle_timeout=0.3)
    assert time.monotonic() - began < 5
    for fd in (reader, reply, writer):
        os.close(fd)


def test_a_fault_of_the_source_closes_the_stream_without_its_end(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    path = tmp_path / "f"
    path.write_bytes(bytes(3_000_000))

    def shrink(done: Any, _: Any) -> None:
        if done:
            os.truncate(path, 0)

    with Receiver(into(tmp_path / "to")) as receiver, pytest.raises(SourceError):
        send(Sender([path]), receiver.output, receiver.reply, progress=shrink)
    assert receiver.status == 118
    assert list((tmp_path / "to").iterdir()) == []


def test_small_files_come_many_in_a_chunk(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"x" * 100)
    (chunk,) = Sender([tmp_path]).chunks()
    assert sum(isinstance(event, EntryEnd) for event in events(Unpacker(), [chunk])) == 50


def test_what_is_whole_is_sent_before_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x" * 100)
    opened = os.open

    def refuse(path: bytes, *more: Any, **named: Any) -> int:
        if path == os.fsencode(tmp_path / "b"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *more, **named)

    monkeypatch.setattr(os, "open", refuse)
    chunks = Sender([tmp_path / "a", tmp_path / "b"]).chunks()
    assert next(chunks).endswith(b"x" * 100)
    with pytest.raises(SourceError, match="cannot be read"):
        next(chunks)


names = st.sampled_from(["a", "b c", "é", ".x", "-r", "漢"])
trees = st.recursive(st.binary(max_size=50), lambda below: st.dictionaries(names, below, max_size=4), max_leaves=8)


def build(path: Path, node: bytes | dict[str, Any]) -> None:
    if isinstance(node, bytes):
        path.write_bytes(node)
        path.chmod(0o640)
        return
    path.mkdir()
    for name, below in node.items():
        build(path / name, below)
    path.chmod(0o750)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(node=trees)
def test_every_tree_comes_back(tmp_path: Any, node: Any) -> None:
    place = tmp_path / os.urandom(8).hex()
    (place / "from").mkdir(parents=True)
    (place / "to").mkdir()
    build(place / "from" / "top", node)
    reader, output = os.pipe()
    reply, writer = os.pipe()
    target = os.open(place / "to", os.O_RDONLY)
    thread = threading.Thread(target=serve, args=(reader, writer, target, QUICK))
    thread.start()

    def close_writer() -> None:
        thread.join(10)
        os.close(writer)

    closer = threading.Thread(target=close_writer)
    closer.start()
    send(Sender([place / "from" / "top"]), output, reply)
    closer.join(10)
    os.close(reply)
    os.close(target)
    assert picture(place / "to") == picture(place / "from")
