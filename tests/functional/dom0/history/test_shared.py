"""Files that root makes for all who may push: the group has them too, where there is such a group."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vminterface.dom0.history import shared
from vminterface.dom0.history.log import History
from vminterface.dom0.push.lockfile import LockFile


@pytest.fixture(autouse=True)
def searches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of groups that were searched for; one is found, to which this process belongs."""
    names: list[str] = []

    def find(name: str) -> Any:
        names.append(name)
        return {"qubes": SimpleNamespace(gr_gid=os.getgid())}[name]

    monkeypatch.setattr("grp.getgrnam", find)
    shared._group.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    yield names
    shared._group.cache_clear()


@pytest.fixture
def no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "GROUP", "none")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_given_to_the_group(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o600)
    shared.share(str(path), 0o660)
    assert mode_of(path) == 0o660


def test_who_is_not_root_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    path = tmp_path / "file"
    path.touch(0o600)
    shared.share(str(path), 0o660)
    assert mode_of(path) == 0o600


@pytest.mark.usefixtures("no_group")
def test_a_group_that_is_not_there_is_searched_for_once(tmp_path: Path, searches: list[str]) -> None:
    for _ in range(3):
        LockFile(str(tmp_path)).close()
        History(str(tmp_path)).append(lambda head: {})
    assert mode_of(tmp_path / "vms.lock") == 0o600
    assert searches == (["none"] if os.getuid() == 0 else [])


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes files for others")
def test_locks_and_history_of_root_are_the_groups_too(tmp_path: Path) -> None:
    LockFile(str(tmp_path)).close()
    History(str(tmp_path / "log")).append(lambda head: {})
    assert mode_of(tmp_path / "vms.lock") == 0o660
    assert (mode_of(tmp_path / "log"), mode_of(tmp_path / "log/push.jsonl")) == (0o770, 0o660)
