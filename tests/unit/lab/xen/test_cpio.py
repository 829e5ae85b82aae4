"""What goes into an archive comes out of it: names, kinds, permissions, links."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.xen.cpio import Cpio


def read(data: bytes) -> dict[str, tuple[int, bytes]]:
    """What an archive holds, by name: mode and contents; two names are of the form itself."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while not found.keys() & {"TRAILER!!!"}:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11]]
        at += -(-(110 + fields[11]) // 4) * 4
        found[name.rstrip(b"\0").decode()] = (fields[1], data[at : at + fields[6]])
        at += -(-fields[6] // 4) * 4
    assert data[at:].strip(b"\0") == b""
    return found


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Any]:
    """Makes an archive by a function, and reads it."""

    def written(fill: Any) -> Any:
        with Cpio(tmp_path / "archive") as archive:
            fill(archive)
        return read((tmp_path / "archive").read_bytes())

    return written


def test_a_file_is_there_with_its_mode_and_the_folders_above_it(written: Callable[..., Any]) -> None:
    found = written(lambda archive: archive.data("usr/bin/program", b"abc", 0o755))
    assert list(found) == ["usr", "usr/bin", "usr/bin/program", "TRAILER!!!"]
    assert found["usr/bin/program"] == (stat.S_IFREG | 0o755, b"abc")
    assert stat.S_ISDIR(found["usr"][0])


def test_a_link_holds_what_it_leads_to(written: Callable[..., Any]) -> None:
    assert written(lambda archive: archive.link("lib", "usr/lib"))["lib"] == (stat.S_IFLNK | 0o777, b"usr/lib")


def test_a_tree_is_there_with_its_links_and_modes(written: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/below/run").write_bytes(b"12345")
    (tmp_path / "tree/below/run").chmod(0o700)
    (tmp_path / "tree/link").symlink_to("below")
    found = written(lambda archive: archive.tree("srv", tmp_path / "tree"))
    assert found["srv/below/run"] == (stat.S_IFREG | 0o700, b"12345")
    assert found["srv/link"] == (stat.S_IFLNK | 0o777, b"below")


def test_another_archive_may_follow(tmp_path: Path) -> None:
    with Cpio(tmp_path / "archive") as archive:
        archive.data("file", b"1")
    assert (tmp_path / "archive").stat().st_size % 512 == 0
