"""What is kept of the emulated host: made once, one generation of each kind, by one process at a time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from lab.paths import PROJECT
from lab.xen import __main__ as command
from lab.xen import paths
from vminterface.errors import DeadlineExceeded

USER = """
import sys
from lab.xen import paths
paths.cached("base", "1", lambda folder: (folder / "file").touch())
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "made", {})
    monkeypatch.setattr(paths, "_held", {})
    return tmp_path / "vminterface" / "xen"


def test_a_thing_is_made_once() -> None:
    calls = []

    def make(folder: Path) -> None:
        (folder / "file").touch()
        calls.append(1)

    first = paths.cached("base", "1", make)
    assert paths.cached("base", "1", lambda folder: calls.append(2)) == first
    assert (first / "file").exists()
    assert calls == [1]
    assert list(paths.made) == ["base"]


def test_what_has_been_made_is_found_and_nothing_is_made_to_find_it(cache: Path) -> None:
    assert paths.find("base", "1") is None
    made = paths.cached("base", "1", lambda folder: None)
    assert paths.find("base", "1") == made
    assert paths.find("base", "2") is None
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["base-1"]


def test_what_has_been_found_is_in_use(cache: Path) -> None:
    paths.cached("base", "1", lambda folder: None)
    os.close(paths._held.pop("base"))
    assert paths.find("base", "1") is not None
    assert paths.remove(cache / "base-1") is False


def test_a_new_generation_takes_the_place_of_the_old_one_of_its_kind_alone(cache: Path) -> None:
    for kind, what in (("base", "1"), ("saved", "1"), ("base", "2"), ("base", "3")):
        paths.cached(kind, what, lambda folder: None)
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {"saved-1", "base-3"}


@pytest.fixture
def user(cache: Path) -> Iterator[Popen[bytes]]:
    """Another process, with the first of its kind in use."""
    command, environment = [sys.executable, "-c", USER], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.stdin.close()


def test_what_another_process_uses_is_left_until_it_has_ended(cache: Path, user: Popen[bytes]) -> None:
    paths.cached("base", "2", lambda folder: None)
    assert (cache / "base-1/file").exists()
    user.communicate(timeout=30)
    paths.cached("base", "3", lambda folder: None)
    assert [path.name for path in paths.folders()] == ["base-3"]


def test_clean_removes_all_but_what_is_in_use_and_says_so(
    cache: Path, user: Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "saved-7").mkdir()
    (cache / "half-made-image-7").mkdir()
    assert command.main(["clean"]) == 1
    assert [path.name for path in paths.folders()] == ["base-1"]
    assert "base-1" in capsys.readouterr().err
    user.communicate(timeout=30)
    assert command.main(["clean"]) == 0
    assert paths.folders() == []


def test_where_a_new_one_cannot_be_made_the_old_one_stays(cache: Path) -> None:
    paths.cached("base", "1", lambda folder: (folder / "file").touch())

    def fail(folder: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        paths.cached("base", "2", fail)
    assert (cache / "base-1/file").exists()


def test_what_fails_leaves_nothing_and_is_not_taken_for_made(cache: Path) -> None:
    def fail(folder: Any) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        paths.cached("base", "1", fail)
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    assert paths.made == {}


def test_who_wants_what_is_being_made_waits_for_it() -> None:
    begun, go, calls = threading.Event(), threading.Event(), []

    def make(folder: Any) -> None:
        calls.append(folder)
        begun.set()
        assert go.wait(10)

    first = threading.Thread(target=paths.cached, args=("base", "1", make))
    first.start()
    assert begun.wait(10)
    second = threading.Thread(target=paths.cached, args=("base", "1", calls.append))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    go.set()
    first.join(10)
    second.join(10)
    assert len(calls) == 1


def test_who_waits_too_long_for_another_is_told_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_PATIENCE", 0.3)

    def make(folder: Any) -> None:
        with pytest.raises(DeadlineExceeded, match=r"another process has been busy with .*/base-\* for 0\.3 s"):
            paths.cached("base", "1", lambda folder: None)

    paths.cached("base", "1", make)


def test_all_that_is_installed_counts_for_what_is_made_of_it() -> None:
    script = (PROJECT / "tools/install").read_text()
    (loop,) = re.findall(r"^for folder in (.*); do$", script, re.MULTILINE)
    installed = {*loop.split(), *re.findall(r"^ *copy (\w+)/", script, re.MULTILINE)}
    installed |= set(re.findall(r"tools/\w+\.py", script))
    there = {PROJECT / name for name in installed if (PROJECT / name).exists()}
    assert len(there) >= 6
    assert there <= set(paths.product())


def test_the_mark_is_of_names_modes_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "file"
    file.write_text("a")
    marks = {paths.mark(folder)}
    file.write_text("b")
    marks.add(paths.mark(folder))
    file.chmod(0o755)
    marks.add(paths.mark(folder))
    file.rename(folder / "other")
    marks.add(paths.mark(folder))
    assert len(marks) == 4
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/other.pyc").touch()
    assert paths.mark(folder) in marks
