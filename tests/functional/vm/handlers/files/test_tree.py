"""What a received file copy makes on a real file system: links as they were sent, and holes where zeros came."""

from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path

import pytest

from tests.support.qfilestream import END, file, folder, link
from vminterface.vm.handlers.files import tree
from vminterface.vm.handlers.files.receive import Terms, receive
from vminterface.wire.qfile_result import Result

MIB = 1 << 20


def take(box: Path, data: bytes) -> Result:
    """Receive *data* from a pipe that is closed after it."""
    reader, writer = os.pipe()
    target = os.open(box, os.O_RDONLY)
    with open(writer, "wb") as sender:

        def send() -> None:
            sender.write(data)
            sender.close()

        thread = threading.Thread(target=send)
        thread.start()
        try:
            return receive(reader, target, Terms(sync=False))
        finally:
            thread.join()
            os.close(reader)
            os.close(target)


def allocated(path: Path) -> int:
    """Bytes that the file has on its disk."""
    return path.stat().st_blocks * 512


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder of a file system that has holes."""
    probe = tmp_path / "probe"
    with probe.open("wb") as made:
        made.truncate(MIB)
    if allocated(probe):
        pytest.skip("no holes in files here")
    probe.unlink()
    return tmp_path


@pytest.mark.parametrize("unnamed", [True, False])
@pytest.mark.parametrize("size", [3 * MIB, 3 * MIB + 1, 24 * MIB + 5000])
def test_a_sparse_file_arrives_sparse(disk: Path, monkeypatch: pytest.MonkeyPatch, size: int, unnamed: bool) -> None:
    """The larger one is one for which room is set aside beforehand."""
    if not unnamed:
        monkeypatch.setattr(tree.Tree, "open_unnamed", lambda self, parent: -1)
    content = io.BytesIO(bytes(size))
    for place in (10_000, MIB + 1, size - 70_000):
        content.seek(place)
        content.write(b"x" * 5000)
    data = content.getvalue()
    assert take(disk, file(b"sparse", data) + END).code == 0
    assert (disk / "sparse").read_bytes() == data
    assert allocated(disk / "sparse") <= 128 << 10


@pytest.mark.parametrize("size", [1, 4096, 100_000, 20 * MIB])
def test_a_file_of_zeros_is_one_hole_of_its_whole_length(disk: Path, size: int) -> None:
    assert take(disk, file(b"zeros", bytes(size)) + END).code == 0
    assert (disk / "zeros").read_bytes() == bytes(size)
    assert allocated(disk / "zeros") == 0


def test_a_link_that_goes_up_behind_a_dot_arrives_as_it_is(tmp_path: Path) -> None:
    links = {"d/e/l": "./../a", "d/e/m": ".//..", "d/e/f/n": ".././..//a"}
    folders = folder(b"d") + folder(b"d/e") + folder(b"d/e/f")
    assert take(tmp_path, folders + b"".join(link(*map(os.fsencode, one)) for one in links.items()) + END).code == 0
    assert {name: os.readlink(tmp_path / name) for name in links} == links


def test_the_result_for_a_link_without_a_target_names_the_link(tmp_path: Path) -> None:
    result = take(tmp_path, folder(b"d") + link(b"d/l", b"") + END)
    assert (result.code, result.name) == (errno.ENOENT, b"d/l")
