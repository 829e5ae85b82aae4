"""A file copy into dom0 is there whole or not at all, whatever its bytes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.support import seeds
from vminterface.deadline import Deadline
from vminterface.dom0.transfer.unpack import GRACE, LATE_LIMIT, Arrival, Limits, Overrun
from vminterface.errors import InvalidValue, RemoteProtocolError
from vminterface.wire.qfile import Entry, Packer
from vminterface.wire.qfile_result import Refused

FILE, FOLDER, LINK = stat.S_IFREG | 0o4755, stat.S_IFDIR | 0o777, stat.S_IFLNK | 0o777


def stream(*entries: tuple[bytes, int, bytes], end: bool = True) -> bytes:
    packer = Packer()
    parts = []
    for path, mode, data in entries:
        parts += [packer.entry(Entry(path, mode, len(data), 0, 0)), bytes(packer.data(data))]
    return b"".join(parts) + (packer.end() if end else b"")


TREE = stream((b"d", FOLDER, b""), (b"d/a", FILE, b"one"), (b"d", FOLDER, b""), (b"b", FILE, b"two"))


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "here")


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_whole_transfer_is_put_there_whatever_its_pieces(place: str, tmp_path: Path, step: int) -> None:
    with Arrival(place, Limits()) as arrival:
        for start in range(0, len(TREE), step):
            arrival.write(TREE[start : start + step])
        assert not os.path.exists(place)
        arrival.put("it")
    assert arrival.files == ["d/a", "b"]
    assert open(f"{place}/d/a").read() == "one"  # noqa: SIM115
    assert stat.S_IMODE(os.stat(f"{place}/b").st_mode) == 0o600
    assert os.listdir(tmp_path) == ["here"]


def test_a_file_keeps_its_holes(place: str) -> None:
    content = bytes(1 << 20) + b"x" + bytes(1 << 20)
    with Arrival(place, Limits()) as arrival:
        for start in range(0, len(data := stream((b"a", FILE, content), (b"b", FILE, b"y"))), 65536):
            arrival.write(data[start : start + 65536])
        arrival.put("it")
    assert open(f"{place}/a", "rb").read() == content  # noqa: SIM115
    assert open(f"{place}/b").read() == "y"  # noqa: SIM115
    assert os.stat(f"{place}/a").st_blocks * 512 <= 64 << 10


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (stream((b"a", FILE, b"x"), end=False), "ended before the end"),
        (TREE[:50], "ended before the end"),
        (stream((b"../a", FILE, b"x")), "'../a'"),
        (stream((b"/etc/x", FILE, b"x")), "'/etc/x'"),
        (stream((b"a/b", FILE, b"x")), "ENOENT"),
        (stream((b"a", FILE, b"x"), (b"a", FILE, b"y")), "EEXIST"),
        (stream((b"d", FOLDER, b""), (b"d/l", LINK, b"x"), (b"d", FOLDER, b"")), "symbolic link"),
        (stream((b"p", stat.S_IFIFO | 0o600, b"")), "EINVAL"),
        (stream((b"a\x1b[2J", FILE, b"x")), "EILSEQ"),
    ],
)
def test_what_is_not_whole_or_not_taken_leaves_nothing(place: str, tmp_path: Path, data: bytes, said: str) -> None:
    with Arrival(place, Limits()) as arrival:
        arrival.write(data)
        with pytest.raises(RemoteProtocolError, match="it: ") as caught:
            arrival.put("it")
    assert said in str(caught.value)
    assert str(caught.value).isprintable()
    assert os.listdir(tmp_path) == []


def test_the_sender_is_told_the_fault_once_and_what_follows_is_dropped(place: str) -> None:
    with Arrival(place, Limits(total_bytes=2)) as arrival:
        arrival.write(TREE)
        assert arrival.result is not None
        assert arrival.result.code == 122
        arrival.write(b"more")


@pytest.mark.parametrize(
    ("limits", "said"), [(Limits(), "after the end of the files"), (Limits(total_bytes=2), "EDQUOT")]
)
def test_a_sender_that_goes_on_and_on_is_not_listened_to(place: str, tmp_path: Path, limits: Limits, said: str) -> None:
    with Arrival(place, limits) as arrival:
        arrival.write(TREE)
        arrival.write(bytes(LATE_LIMIT))
        with pytest.raises(Overrun):
            arrival.write(b"x")
        with pytest.raises(RemoteProtocolError, match=f"^it: .*{said}"):
            arrival.put("it")
    assert os.listdir(tmp_path) == []


def test_what_has_come_is_removed_as_soon_as_something_is_refused(place: str, tmp_path: Path) -> None:
    deadline = Deadline.after(3600)
    with Arrival(place, Limits(total_bytes=5), deadline=deadline) as arrival:
        arrival.write(stream((b"a", FILE, b"one"), end=False))
        assert len(list(tmp_path.rglob("a"))) == 1
        assert deadline.remaining > 3000
        arrival.write(stream((b"b", FILE, b"two")))
        assert os.listdir(tmp_path) == []
        assert deadline.remaining <= GRACE
        arrival.write(b"more")
        with pytest.raises(RemoteProtocolError, match="'b': more than 5 bytes"):
            arrival.put("it")


@pytest.mark.parametrize("refused", [False, True], ids=["broken off", "refused"])
def test_folders_nested_without_end_are_removed_too(place: str, tmp_path: Path, refused: bool) -> None:
    tree = [(b"/".join([b"a"] * depth), FOLDER, b"") for depth in range(1, 1500)]
    with Arrival(place, Limits(total_bytes=0)) as arrival:
        arrival.write(stream(*tree, end=False))
        assert arrival.result is None
        if refused:
            arrival.write(Packer().entry(Entry(b"x", FILE, 5, 0, 0)))
    assert os.listdir(tmp_path) == []


def test_a_file_that_would_fill_the_disk_is_refused_before_a_byte_of_it_is_taken(place: str, tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    size = disk.f_blocks * disk.f_frsize
    with Arrival(place, Limits(total_bytes=size)) as arrival:
        arrival.write(Packer().entry(Entry(b"a", FILE, size, 0, 0)))
        assert arrival.result is not None
        assert arrival.result.code == errno.ENOSPC
        assert os.listdir(tmp_path) == []
        with pytest.raises(RemoteProtocolError, match=rf"'a': {size} bytes would leave less than .* \(ENOSPC\)"):
            arrival.put("it")


@pytest.mark.parametrize("entry", [(b"a", FILE, b""), (b"d", FOLDER, b"")], ids=["file", "folder"])
def test_some_of_the_disk_is_always_left(place: str, tmp_path: Path, entry: tuple[bytes, int, bytes]) -> None:
    disk = os.statvfs(tmp_path)
    with Arrival(place, Limits(reserve=2 * disk.f_blocks * disk.f_frsize)) as arrival:
        arrival.write(stream(entry))
        assert arrival.result is not None
        assert arrival.result.code == errno.ENOSPC
    assert os.listdir(tmp_path) == []


def test_one_file_becomes_the_place_itself(place: str, tmp_path: Path) -> None:
    with Arrival(place, Limits(), single=True) as arrival:
        arrival.write(stream((b"a", FILE, b"text")))
        arrival.put("it")
    assert open(place).read() == "text"  # noqa: SIM115
    assert os.listdir(tmp_path) == ["here"]
    with pytest.raises(InvalidValue, match="already exists"):
        Arrival(place, Limits())


@pytest.mark.parametrize("data", [TREE, stream()])
def test_where_one_file_is_wanted_others_are_refused(place: str, tmp_path: Path, data: bytes) -> None:
    with Arrival(place, Limits(), single=True) as arrival:
        arrival.write(data)
        with pytest.raises(RemoteProtocolError, match="expected one"):
            arrival.put("it")
    assert os.listdir(tmp_path) == []


@pytest.mark.fuzz
def test_any_bytes_are_a_transfer_or_a_fault(place: str, tmp_path: Path) -> None:
    """Each run writes to the disk, which takes milliseconds: 2,000 of them.

    The parser alone gets its 100,000 in tests/unit/wire/test_qfile.py.
    """
    numbers = seeds.chance("bytes to dom0")
    runs = seeds.rounds(2000)
    for _ in range(runs):
        data = bytearray(TREE)
        for _ in range(numbers.randrange(1, 6)):
            data[numbers.randrange(len(data))] = numbers.randrange(256)
        try:
            with Arrival(place, Limits(total_bytes=1 << 20, entries=10)) as arrival:
                arrival.write(bytes(data))
                arrival.put("it")
        except (Refused, RemoteProtocolError):
            assert os.listdir(tmp_path) == []
        else:
            assert os.listdir(tmp_path) == ["here"]
            for folder, _, names in os.walk(place, topdown=False):
                for name in names:
                    os.unlink(os.path.join(folder, name))
                os.rmdir(folder)
