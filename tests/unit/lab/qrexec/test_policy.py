"""Which calls between VMs the lab's policy lets happen."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.qrexec.command import Command
from lab.qrexec.policy import DEFAULT, Allowed, BadPolicy, decide, decide_by

CALL = Command("DEFAULT", "work", "qubes.Filecopy+arg")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("qubes.Filecopy * work personal allow", Allowed("personal", "DEFAULT")),
        ("* * @anyvm @anyvm allow user=root", Allowed("personal", "root")),
        ("* +arg @anyvm personal allow target=vault # there", Allowed("vault", "DEFAULT")),
        ("* +other @anyvm @anyvm allow", None),
        ("* + @anyvm @anyvm allow", None),
        ("* * personal work allow", None),
        ("* * work @adminvm allow", None),
        ("* * work personal deny\n* * work personal allow", None),
        ("* * work personal ask", None),
        ("", None),
        (DEFAULT, None),
    ],
)
def test_the_first_line_that_fits_decides(text: str, allowed: Allowed | None) -> None:
    assert decide(text, CALL, "personal") == allowed


@pytest.mark.parametrize(
    "line", ["a * work", "a * work personal maybe", "a arg work personal allow", "a * work personal allow by=me",
             "a * work personal allow now"],
)  # fmt: skip
def test_a_line_that_is_no_rule_is_named_even_behind_one_that_fits(line: str) -> None:
    with pytest.raises(BadPolicy, match=r"^policy:2: '"):
        decide(f"* * work personal allow\n{line}", CALL, "personal")


def test_no_file_allows_nothing_and_a_long_one_is_a_fault(tmp_path: Path) -> None:
    assert decide_by(tmp_path / "none", CALL, "personal") is None
    (tmp_path / "long").write_text("# x\n" * 20000)
    with pytest.raises(BadPolicy, match="longer"):
        decide_by(tmp_path / "long", CALL, "personal")


def test_a_line_is_named_without_what_a_terminal_would_take_for_its_own() -> None:
    with pytest.raises(BadPolicy, match=r"^policy:1: 'a \\x1b' is no rule"):
        decide("a \x1b", CALL, "personal")
