"""A VM's list of files is read in whatever pieces it comes, within bounds, or refused with a sentence."""

from __future__ import annotations

import pytest

from vminterface.dom0.ensure import filelist
from vminterface.dom0.ensure.filelist import FileList, Tree
from vminterface.errors import OutputTooLarge, RemoteProtocolError

TOP = b"QubesIncoming/dom0/things"
SUM = b"0123456789abcdef" * 4
LIST = (
    SUM + b"  " + TOP + b"/a\0" + SUM + b"  " + TOP + b"/b\xff/c\n\0" + b"\0"
    b"d" + TOP + b"\0\0" + b"l" + TOP + b"/l\0../x\0"
)  # fmt: skip
TREE: Tree = {b"a": ("f", SUM), b"b\xff/c\n": ("f", SUM), b"": ("d", b""), b"l": ("l", b"../x")}


def read(*pieces: bytes) -> Tree:
    listed = FileList("work", TOP)
    for piece in pieces:
        listed.write(piece)
    return listed.tree()


@pytest.mark.parametrize("size", [1, 7, len(LIST)])
def test_it_is_the_same_in_whatever_pieces_it_comes(size: int) -> None:
    assert read(*(LIST[at : at + size] for at in range(0, len(LIST), size))) == TREE


@pytest.mark.parametrize("size", [0, 10, LIST.index(b"\0\0") + 1, len(LIST) - 1, LIST.rindex(b"\0../")])
def test_a_list_that_breaks_off_is_not_whole(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="the list of files in work is incomplete"):
        read(LIST[:size])


def test_what_is_no_checksum_is_shown() -> None:
    with pytest.raises(RemoteProtocolError, match=r"'\\x1b\[31m.*' in work is not the checksum of a file"):
        read(b"\x1b[31m  x\0")


@pytest.mark.parametrize("entry", [SUM + b"  x\0", b"\0\0", b"dx\0\0"], ids=["files", "nothing", "folders"])
def test_entries_are_bounded_the_same_one_again_and_again_too(monkeypatch: pytest.MonkeyPatch, entry: bytes) -> None:
    monkeypatch.setattr(filelist, "ENTRIES", 100)
    start = b"" if entry.startswith(SUM) else b"\0"
    listed = FileList("work", TOP)
    listed.write(start + entry * 100)
    with pytest.raises(OutputTooLarge, match=r"QubesIncoming/dom0/things in work has more than 100 entries"):
        listed.write(entry)


def test_a_record_without_end_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="a record of the list of files in work is longer than 4162 bytes"):
        read(SUM, b"  ", b"x" * 5000)
