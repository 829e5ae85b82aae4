"""A finished file gets its name at once, on whatever file system, and never in place of another."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from vminterface.vm.handlers.files import naming
from vminterface.vm.handlers.files.naming import name_file


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@pytest.fixture(params=["rename", "link", "neither"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a file system that knows a rename without replacement, links, or neither of them."""
    if request.param != "rename":
        monkeypatch.setattr(naming, "_rename", refuse)
    if request.param == "neither":
        monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "part").write_text("whole")
    return tmp_path


def test_the_file_has_its_new_name_alone(folder: Path) -> None:
    name_file(str(folder / "part"), str(folder / "weekly"))
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"weekly": "whole"}


@pytest.mark.parametrize("kind", ["file", "dangling link", "folder"])
def test_nothing_is_replaced(folder: Path, kind: str) -> None:
    place = folder / "weekly"
    if kind == "file":
        place.write_text("old")
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("none")
    with pytest.raises(FileExistsError):
        name_file(str(folder / "part"), str(place))
    assert (folder / "part").read_text() == "whole"
    assert os.path.lexists(place)


def test_cut_short_at_any_call_there_is_no_file_that_is_not_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a handler that is killed there: after each change of the folder, what has the final name is the whole file."""
    for name in ("link", "rename", "unlink"):
        real = getattr(os, name)

        def cut(*arguments: object, real: Any = real, **options: object) -> None:
            real(*arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, name, cut)
    with contextlib.suppress(KeyboardInterrupt, OSError):
        name_file(str(folder / "part"), str(folder / "weekly"))
    for path in folder.iterdir():
        assert path.read_text() == "whole"
