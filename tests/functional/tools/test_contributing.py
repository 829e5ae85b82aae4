"""The worked examples of CONTRIBUTING.md, made one after the other in a copy of the tree: their tests pass there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support.workedexamples import DoesNotFit, examples, make

EXAMPLES = examples((PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
#: What the examples touch; there is no need of corpora and pictures.
COPIED = (
    *("_utils", "_modules", "docs", "formulas", "lab", "pillar", "tests", "tools", "website"),
    *("pyproject.toml", "version"),
)
#: Tests of a table against its page, and of words, beside those that the examples add.
GENERAL = (
    "tests/unit/vm/handlers/runtime/test_table.py",
    "tests/unit/vm/handlers/runtime/test_owner.py::test_the_formula_that_writes_the_file_knows_the_same_settings",
    "tests/unit/test_words.py::test_no_docstring_of_a_public_name_has_a_retired_word",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree in which all examples have been made."""
    copy = tmp_path_factory.mktemp("copy")
    without = shutil.ignore_patterns("__pycache__", "corpus", "pictures", "recorded", "regressions")
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=without, symlinks=True)
        else:
            shutil.copy(source, copy / name)
    for blocks in EXAMPLES.values():
        for block in blocks:
            make(copy, *block)
    return copy


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{tree}/_utils:{tree}", "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, *words], cwd=tree, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_there_is_an_example_of_a_field_a_service_and_a_report() -> None:
    assert [*EXAMPLES] == ["Add a field", "Add a service", "Add a report"]
    for blocks in EXAMPLES.values():
        assert {kind for kind, _, _ in blocks} == {"python", "diff"}
        assert any(path.startswith("tests/") for _, path, _ in blocks)


@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())
def test_the_tests_of_the_examples_pass_and_so_do_those_about_tables(tree: Path) -> None:
    added = [path for blocks in EXAMPLES.values() for _, path, _ in blocks if re.search(r"/test_\w+\.py$", path)]
    done = run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *added, *GENERAL)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_that_are_made_of_tables_and_sources_have_the_examples(tree: Path) -> None:
    subprocess.run([tree / "tools/write-pages", sys.executable], check=True, timeout=60)
    assert "`vm-config/vminterface-locale`" in (tree / "docs/coverage.md").read_text()
    assert "is not a valid locale" in (tree / "docs/messages.md").read_text()
    assert '"locale"' in (tree / "pillar/vminterface.schema.json").read_text()


def test_the_command_knows_the_new_field(tree: Path) -> None:
    (tree / "one.sls").write_text("qubes: {vms: {work: {locale: polish}}}\n")
    done = run(tree, "-m", "vminterface", "check", "one.sls")
    assert done.returncode == 1
    assert "qubes:vms:work:locale: 'polish' is not a valid locale" in done.stdout + done.stderr


def test_the_examples_are_written_as_the_rest_of_the_tree(tree: Path) -> None:
    ruff = PROJECT / ".venv/lint/bin/ruff"
    if not ruff.exists():
        pytest.skip("no environment for `make lint` here")
    written = [path for blocks in EXAMPLES.values() for _, path, _ in blocks if path.endswith(".py")]
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *check, "--no-cache", *written], cwd=tree, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_change_of_lines_that_are_not_there_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a\nb\na\n")
    make(tmp_path, "diff", "one", "-b\n+c\n")
    assert (tmp_path / "one").read_text() == "a\nc\na\n"
    for hunk, times in ((" a\n+d\n", 2), ("-b\n", 0)):
        with pytest.raises(DoesNotFit, match=f"{times} times"):
            make(tmp_path, "diff", "one", hunk)
    with pytest.raises(DoesNotFit, match="is there already"):
        make(tmp_path, "python", "one", "x")
