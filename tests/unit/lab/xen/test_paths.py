"""What is kept of the emulated host: made once, one generation of each kind, by one process at a time."""

import threading

import pytest

from lab.xen import paths


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "made", {})
    return tmp_path / "vminterface" / "xen"


def test_a_thing_is_made_once():
    calls = []
    first = paths.cached("base", "1", lambda folder: (folder / "file").touch() or calls.append(1))
    assert paths.cached("base", "1", lambda folder: calls.append(2)) == first
    assert (first / "file").exists()
    assert calls == [1]
    assert list(paths.made) == ["base"]


def test_a_new_generation_takes_the_place_of_the_old_one_of_its_kind_alone(cache):
    for kind, what in (("base", "1"), ("saved", "1"), ("base", "2"), ("base", "3")):
        paths.cached(kind, what, lambda folder: None)
    assert {path.name for path in cache.iterdir() if path.is_dir()} == {"saved-1", "base-3"}


def test_what_fails_leaves_nothing_and_is_not_taken_for_made(cache):
    def fail(folder):
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        paths.cached("base", "1", fail)
    assert [path for path in cache.iterdir() if path.is_dir()] == []
    assert paths.made == {}


def test_who_wants_what_is_being_made_waits_for_it():
    begun, go, calls = threading.Event(), threading.Event(), []

    def make(folder):
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


def test_the_mark_is_of_names_modes_and_contents(tmp_path):
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
