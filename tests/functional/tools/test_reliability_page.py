"""The page of what is promised names tests that exist, and each promise has one."""

from __future__ import annotations

import re

from lab.paths import PROJECT

PAGE = PROJECT / "docs/explanation/reliability.md"
NAMED = re.compile(r"`(tests/[\w/.]+)`")


def test_every_file_that_the_page_names_exists() -> None:
    named = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert len(named) > 30
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_every_promise_has_a_test() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| promise | held by |\n|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    assert len(rows) > 10
    assert [row for row in rows if len(row) != 2 or not NAMED.findall(row[1])] == []


def test_every_goal_that_the_page_names_is_one_of_the_makefile() -> None:
    goals = set(re.findall(r"\bmake ([a-z-]+)", PAGE.read_text(encoding="utf-8")))
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    assert "soak" in goals
    assert [
        goal for goal in sorted(goals) if not re.search(rf"^[\w -]*\b{goal}\b[\w -]*:", makefile, re.MULTILINE)
    ] == []


def test_readme_and_design_lead_to_it() -> None:
    for page, link in (
        ("README.md", "docs/explanation/reliability.md"),
        ("docs/design.md", "explanation/reliability.md"),
    ):
        assert f"]({link})" in (PROJECT / page).read_text(encoding="utf-8")
