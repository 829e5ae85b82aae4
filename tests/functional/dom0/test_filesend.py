"""Sending a file copy: what is sent is what is on the disk, and a receiver's word is heard while sending."""

import errno
import os
import socket
import stat
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.qfilestream import events
from vminterface.dom0.filesend import Sender, SourceFault, Survey, send
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    InvalidValues,
    RemoteProtocolError,
)
from vminterface.vm.filecopy import Terms, serve
from vminterface.wire.qfile import Directory, End, EntryEnd, EntryStart, Symlink, Unpacker
from vminterface.wire.qfile_result import Refused, Result


def sent(sender):
    return events(Unpacker(allow_all_names=True), sender.chunks())


def without_access_times(found):
    """Return *found* with the times that reading changes set to 0."""
    return [e._replace(atime_ns=0) if isinstance(e, EntryStart | Directory) else e for e in found]


class Receiver:
    """A receiver in another process: it runs *work(input, answer)* and ends with the status that it returns."""

    def __init__(self, work):
        reader, self.output = os.pipe()
        self.answer, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            status = 99
            try:
                os.close(self.output)
                os.close(self.answer)
                status = work(reader, writer)
            finally:
                os._exit(status)
        os.close(reader)
        os.close(writer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.answer)
        self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


QUICK = Terms(sync=False)


def into(folder, terms=QUICK):
    return lambda reader, writer: serve(reader, writer, os.open(folder, os.O_RDONLY), terms).exit_status


def picture(root):
    """Return what is below *root*: type, permissions, time, content."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        what = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        times = None if path.is_symlink() else info.st_mtime_ns
        found[str(path.relative_to(root))] = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), times, what)
    return found


@pytest.fixture
def tree(tmp_path):
    top = tmp_path / "from" / "top"
    (top / "b").mkdir(parents=True)
    (top / "b" / "f").write_bytes(b"content")
    (top / "b" / "l").symlink_to("f")
    (top / "a").write_bytes(b"")
    os.utime(top / "b" / "f", ns=(5_000_000_007, 6_000_000_008))
    return top


def test_a_tree_is_sent_in_the_order_of_its_names_and_folders_twice(tree):
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


def test_permissions_times_and_content_are_sent(tree):
    (tree / "b" / "f").chmod(0o751)
    found = sent(Sender([str(tree / "b" / "f")]))
    assert found == [EntryStart(b"f", 0o100751, 7, 5_000_000_007, 6_000_000_008), b"content", EntryEnd(), End()]


def test_a_trailing_slash_and_a_dot_change_nothing(tree, monkeypatch):
    monkeypatch.chdir(tree)
    first, *others = (without_access_times(sent(Sender([path]))) for path in (tree, f"{tree}/", ".", os.fsencode(tree)))
    assert others == [first] * 3


def test_a_survey_counts_and_finds_names_that_need_all_names(tree):
    assert Sender([tree]).survey() == Survey(7, None, ())
    (tree / "b" / "\u202e").write_bytes(b"123")
    assert Sender([tree]).survey() == Survey(10, os.fsencode(tree / "b" / "\u202e"), (), True)


def test_a_survey_finds_names_that_another_receiver_may_not_know(tree):
    (tree / "é").symlink_to("a")
    assert Sender([tree]).survey() == Survey(7, None, (), True)
    assert not Sender([tree], skip_links=True).survey().may_need_all_names


def test_link_targets_may_need_all_names_too(tree):
    (tree / "b" / "m").symlink_to("\u202e")
    assert Sender([tree]).survey().needs_all_names
    assert not Sender([tree], skip_links=True).survey().needs_all_names


def test_a_link_that_goes_up_behind_a_dot_is_sent(tree):
    (tree / "b" / "up").symlink_to("./../a")
    assert Symlink(b"%s/b/up" % os.fsencode(tree.name), b"./../a") in sent(Sender([tree]))


def test_sockets_and_pipes_are_left_out_and_noted(tree):
    before = without_access_times(sent(Sender([tree / "b"]))[1:-2])
    os.mkfifo(tree / "b" / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "b" / "sock"))
        assert Sender([tree]).survey().skipped == (os.fsencode(tree / "b/pipe"), os.fsencode(tree / "b/sock"))
        assert without_access_times(sent(Sender([tree / "b"]))[1:-2]) == before


def test_links_that_a_receiver_refuses_are_all_found_before_anything_is_sent(tree):
    (tree / "b" / "out").symlink_to("../../x")
    (tree / "abs").symlink_to("/etc/passwd")
    with pytest.raises(InvalidValues) as caught:
        Sender([tree]).survey()
    assert [str(f).split(":")[0] for f in caught.value.faults] == [str(tree / "abs"), str(tree / "b" / "out")]
    assert Sender([tree], skip_links=True).survey().skipped == tuple(
        os.fsencode(tree / name) for name in ("abs", "b/l", "b/out")
    )


@pytest.mark.parametrize("paths", [[], ["/"], ["/tmp/a", "/var/a"]])
def test_paths_that_cannot_be_told_apart_or_named_are_refused(paths):
    with pytest.raises(InvalidValue):
        Sender(paths)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(SourceFault, match=r"/gone\\x1b: cannot be read: No such file or directory$"):
        Sender([tmp_path / "gone\x1b"]).survey()


def change_after(sender, change):
    """Take the stream up to the first data, change the file, take the rest."""
    for chunk in sender.chunks():
        if change is not None and b"x" * 10 in chunk:
            change()
            change = None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: os.truncate(path, 300_000), "shrank while it was sent"),
        (lambda path: os.truncate(path, 0), "shrank while it was sent"),
        (lambda path: path.open("ab").write(b"more"), "changed its size"),
    ],
)
def test_a_file_that_changes_its_size_ends_the_transfer(tmp_path, change, words):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 600_000)
    with pytest.raises(SourceFault, match=words):
        change_after(Sender([path]), lambda: change(path))


def test_a_file_that_vanishes_before_its_turn_ends_the_transfer(tree):
    (tree / "a").write_bytes(b"x" * 10)
    with pytest.raises(SourceFault, match="cannot be read"):
        change_after(Sender([tree]), lambda: os.rename(tree / "b", tree / "c"))


def test_a_pipe_that_took_the_place_of_a_file_is_not_waited_for(tmp_path):
    (tmp_path / "d").mkdir()
    for name in ("a", "b"):
        (tmp_path / "d" / name).write_bytes(b"x" * 10)

    def swap():
        (tmp_path / "d" / "b").unlink()
        os.mkfifo(tmp_path / "d" / "b")

    with pytest.raises(SourceFault, match="was a file"):
        change_after(Sender([tmp_path / "d"]), swap)


def test_progress_is_told_in_bytes_of_content(tmp_path):
    (tmp_path / "f").write_bytes(bytes(600_000))
    sender = Sender([tmp_path / "f"])
    total = sender.survey().total_bytes
    told = []
    for _ in sender.chunks(lambda done, of: told.append((done, of)), total):
        pass
    assert told[-1] == (600_000, 600_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_tree_arrives_in_another_process_as_it_was(tree, tmp_path):
    (tmp_path / "to").mkdir()
    (tree / "big").write_bytes(os.urandom(3_000_000))
    sender = Sender([tree])
    with Receiver(into(tmp_path / "to")) as receiver:
        result = send(sender, receiver.output, receiver.answer)
    assert receiver.status == 0
    assert result == Result(0, sender.crc, b"top")
    assert picture(tmp_path / "to") == picture(tmp_path / "from")


def test_an_early_error_stops_a_sender_in_the_middle_of_a_file(tmp_path):
    """The file is so large that sending all of it would take far longer than the test may."""
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "big").write_bytes(b"mine")
    with (tmp_path / "big").open("wb") as big:
        big.truncate(1 << 40)
    told = []
    with Receiver(into(tmp_path / "to")) as receiver, pytest.raises(Refused) as caught:
        send(Sender([tmp_path / "big"]), receiver.output, receiver.answer, progress=lambda done, _: told.append(done))
    assert (caught.value.code, caught.value.name) == (errno.EEXIST, b"big")
    assert receiver.status == errno.EEXIST
    assert told[-1] < 1 << 32
    assert (tmp_path / "to" / "big").read_bytes() == b"mine"


def test_a_full_receiver_is_heard_too(tmp_path):
    (tmp_path / "to").mkdir()
    with (tmp_path / "big").open("wb") as big:
        big.truncate(1 << 40)
    with Receiver(into(tmp_path / "to", Terms(total_bytes=1 << 30))) as receiver, pytest.raises(Refused, match="QUOT"):
        send(Sender([tmp_path / "big"]), receiver.output, receiver.answer)
    assert list((tmp_path / "to").iterdir()) == []


def answers(data, *, read_all):
    def work(reader, writer):
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
def test_an_answer_that_is_none_is_an_error(tree, data, error, read_all):
    (tree / "big").write_bytes(bytes(3_000_000))
    with Receiver(answers(data, read_all=read_all)) as receiver, pytest.raises(error):
        send(Sender([tree]), receiver.output, receiver.answer)


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_receiver_that_hangs_costs_the_deadline_once(tmp_path, size):
    (tmp_path / "f").write_bytes(bytes(size))
    reader, output = os.pipe()
    answer, writer = os.pipe()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        send(Sender([tmp_path / "f"]), output, answer, idle_timeout=0.3)
    assert time.monotonic() - began < 5
    for fd in (reader, answer, writer):
        os.close(fd)


def test_a_fault_of_the_source_closes_the_stream_without_its_end(tmp_path):
    (tmp_path / "to").mkdir()
    path = tmp_path / "f"
    path.write_bytes(bytes(3_000_000))

    def shrink(done, _):
        if done:
            os.truncate(path, 0)

    with Receiver(into(tmp_path / "to")) as receiver, pytest.raises(SourceFault):
        send(Sender([path]), receiver.output, receiver.answer, progress=shrink)
    assert receiver.status == 118
    assert list((tmp_path / "to").iterdir()) == []


names = st.sampled_from(["a", "b c", "é", ".x", "-r", "漢"])
trees = st.recursive(st.binary(max_size=50), lambda below: st.dictionaries(names, below, max_size=4), max_leaves=8)


def build(path, node):
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
def test_every_tree_comes_back(tmp_path, node):
    place = tmp_path / os.urandom(8).hex()
    (place / "from").mkdir(parents=True)
    (place / "to").mkdir()
    build(place / "from" / "top", node)
    reader, output = os.pipe()
    answer, writer = os.pipe()
    target = os.open(place / "to", os.O_RDONLY)
    thread = threading.Thread(target=serve, args=(reader, writer, target, QUICK))
    thread.start()

    def close_writer():
        thread.join(10)
        os.close(writer)

    closer = threading.Thread(target=close_writer)
    closer.start()
    send(Sender([place / "from" / "top"]), output, answer)
    closer.join(10)
    os.close(answer)
    os.close(target)
    assert picture(place / "to") == picture(place / "from")
