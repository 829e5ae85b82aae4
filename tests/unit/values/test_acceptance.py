"""agent.conf: one rule a line, and the first line that is not valid is told with its number."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.values.acceptance import WORDS, WrongLine, parse

SETTINGS = ("network", "timezone", "services")
SERVICES = ("qubes.VMShell", "qubes.VMShell+WaitForSession", "qubes.Filecopy")


def rules(text: str) -> dict[str, tuple[str, int]]:
    return {name: (rule.word, rule.number) for name, rule in parse(text, SETTINGS, SERVICES).items()}


@pytest.mark.parametrize("text", ["", "\n\n", "# network = refuse", "   \t\n#\n"])
def test_a_file_that_says_nothing_has_no_rules(text: str) -> None:
    assert rules(text) == {}


def test_names_of_settings_and_services_have_each_of_the_three_words() -> None:
    text = (
        "# mine\nnetwork=refuse\n\n  timezone =\tignore  # for now\r\nqubes.VMShell = accept\nother-handlers = refuse"
        "\nother-settings = accept"
    )
    assert rules(text) == {
        "network": ("refuse", 2),
        "timezone": ("ignore", 4),
        "qubes.VMShell": ("accept", 5),
        "other-handlers": ("refuse", 6),
        "other-settings": ("accept", 7),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("network", "'network' is not valid (expected NAME = accept, ignore or refuse)"),
        ("network = no", "'network = no' is not valid (expected NAME = accept, ignore or refuse)"),
        ("network = Refuse", "'network = Refuse' is not valid (expected NAME = accept, ignore or refuse)"),
        ("network = refuse debug", "'network = refuse debug' is not valid (expected NAME = accept, ignore or refuse)"),
        ("network: refuse", "'network: refuse' is not valid (expected NAME = accept, ignore or refuse)"),
        ("network = ignore = x", "'network = ignore = x' is not valid (expected NAME = accept, ignore or refuse)"),
        ("network = x = ignore", "'network = x = ignore' is not valid (expected NAME = accept, ignore or refuse)"),
        ("[settings]", "'[settings]' is not valid (expected NAME = accept, ignore or refuse)"),
        ("netwrok = refuse", "'netwrok' is not a setting or a service (did you mean 'network'?)"),
        ("qubes.VMShel = refuse", "'qubes.VMShel' is not a setting or a service (did you mean 'qubes.VMShell'?)"),
        ("= refuse", "'' is not a setting or a service"),
        ("* = refuse", "'*' is not a setting or a service"),
        ("\x1b[0m\udcff = refuse", "'\\x1b[0m\\xff' is not a setting or a service"),
        ("timezone = refuse", "'timezone' is given twice, also in line 1"),
    ],
)  # fmt: skip
def test_any_other_line_is_told_with_its_number(line: str, message: str) -> None:
    with pytest.raises(WrongLine) as caught:
        rules(f"timezone = ignore\n\n{line}\nnonsense\n")
    assert (str(caught.value), caught.value.number) == (message, 3)


def test_a_line_without_end_makes_a_short_message() -> None:
    with pytest.raises(WrongLine) as caught:
        rules("x" * 60_000)
    assert len(str(caught.value)) < 120


@given(st.text())
def test_whatever_the_text_it_is_rules_or_one_printable_sentence(text: Any) -> None:
    try:
        found, told = rules(text), ""
    except WrongLine as error:
        found, told = {"": ("accept", error.number)}, str(error)
    assert told.isprintable()
    assert all(word in WORDS and 1 <= number <= text.count("\n") + 1 for word, number in found.values())
