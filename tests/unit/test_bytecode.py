"""What is compiled of a synced library is kept out of the folder that Salt empties."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vminterface import bytecode


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Gives a package of one module below a folder, importable."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "path_hooks", [*sys.path_hooks])
    made = []

    def package(where: Any, name: Any) -> Any:
        folder = tmp_path / where / name
        (folder / "below").mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "below" / "__init__.py").touch()
        (folder / "below" / "one.py").write_text("VALUE = 1\n")
        monkeypatch.syspath_prepend(str(folder.parent))
        made.append(name)
        return folder

    yield package
    for name in [*sys.modules]:
        if name.partition(".")[0] in made:
            del sys.modules[name]


def compiled(folder: Path) -> set[str]:
    return {path.name.partition(".")[0] for path in folder.rglob("*.pyc")}


def test_what_salt_has_synced_is_compiled_beside_the_folder_that_salt_cleans(
    packages: Callable[..., Any], tmp_path: Path
) -> None:
    folder = packages("cache/extmods/utils", "synced_example")
    package = importlib.import_module("synced_example")
    bytecode.keep(package.__path__[0])
    assert importlib.import_module("synced_example.below.one").VALUE == 1
    assert compiled(tmp_path / "cache" / bytecode.FOLDER) == {"__init__", "one"}
    assert compiled(folder / "below") == set()
    assert sys.pycache_prefix is None


def test_a_module_that_has_changed_is_compiled_anew(packages: Callable[..., Any], tmp_path: Path) -> None:
    folder = packages("cache/extmods/utils", "changed_example")
    package = importlib.import_module("changed_example")
    bytecode.keep(package.__path__[0])
    importlib.import_module("changed_example.below.one")
    (folder / "below" / "one.py").write_text("VALUE = 'another'\n")
    del sys.modules["changed_example.below.one"]
    assert importlib.import_module("changed_example.below.one").VALUE == "another"


def test_a_package_that_is_installed_is_compiled_where_python_does_it(
    packages: Callable[..., Any], tmp_path: Path
) -> None:
    folder = packages("site-packages", "installed_example")
    package = importlib.import_module("installed_example")
    hooks = [*sys.path_hooks]
    bytecode.keep(package.__path__[0])
    importlib.import_module("installed_example.below.one")
    assert sys.path_hooks == hooks
    assert "one" in compiled(folder)


def test_modules_of_others_are_none_of_its_business(packages: Callable[..., Any], tmp_path: Path) -> None:
    packages("cache/extmods/utils", "own_example")
    theirs = packages("cache/extmods/utils", "own_example_of_others")
    bytecode.keep(importlib.import_module("own_example").__path__[0])
    importlib.import_module("own_example_of_others.below.one")
    assert "one" in compiled(theirs)
