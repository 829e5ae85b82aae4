"""The list of mutants that no test can tell from the code: each says why, and names lines that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.equivalents import Equivalent, equivalents
from tests.mutation.scope import LIBRARY


def test_each_reason_holds_for_the_mutants_below_it_and_each_module_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text(
        "## values/port.py\n= the first reason\n\n- a\n- b\n+ c\n\n- d\n+ e\n= another\n- f\n+ g\n- h\n\n"
        "## wire/gui.py\n= a third\n- i\n+ j\n"
    )
    assert equivalents(tmp_path) == [
        Equivalent("values/port.py", ("a", "b"), ("c",), "the first reason"),
        Equivalent("values/port.py", ("d",), ("e",), "the first reason"),
        Equivalent("values/port.py", ("f",), ("g",), "another"),
        Equivalent("values/port.py", ("h",), (), "another"),
        Equivalent("wire/gui.py", ("i",), ("j",), "a third"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("## values/port.py\n- a\n+ b\n", r"some\.txt:3: a mutant without a module and a reason"),
        ("= why\n- a\n+ b\n", r"some\.txt:3: a mutant without a module and a reason"),
        ("## values/port.py\nwhy\n", r"some\.txt:2: unknown line"),
    ],
)
def test_a_mutant_without_a_reason_and_any_other_line_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "some.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        equivalents(tmp_path)


def test_the_lines_of_each_are_still_in_the_module() -> None:
    stale = []
    for one in equivalents():
        lines = {line.strip() for line in (LIBRARY / one.module).read_text(encoding="utf-8").splitlines()}
        stale += [f"{one.module}: {line}" for line in one.removed if line not in lines]
    assert not stale, "changed since: run `make mutate` for these modules and decide anew"
