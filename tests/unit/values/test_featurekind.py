"""What a feature may be: from the pillar's value and from qubesd's text to one value, and back."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.errors import InvalidValue
from vminterface.values import featurekind
from vminterface.values.featurekind import ANY, FLAG, TEXT, Kind, form, number, one_of, words


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (FLAG, True, "1"),
        (FLAG, "on", "1"),
        (FLAG, 1, "1"),
        (FLAG, False, ""),
        (FLAG, "off", ""),
        (TEXT, "a text", "a text"),
        (TEXT, 12, "12"),
        (number(0), 45, "45"),
        (number(0), "045", "45"),
        (number(256, 256000), 256, "256"),
        (form("seconds", r"-?[0-9]+(\.[0-9]+)?"), 2.5, "2.5"),
        (one_of("bg", "tint"), "bg", "bg"),
        (words("words", "[a-z]+"), ["a", "b"], "a b"),
        (words("words", "[a-z]+"), "a b", "a b"),
        (words("words", "[a-z]+"), [], ""),
        (ANY, True, "1"),
        (ANY, False, ""),
        (ANY, 3, "3"),
        (ANY, "off", "off"),
    ],
)
def test_what_an_admin_writes_becomes_the_text_of_qubesd(kind: Kind, value: Any, text: str) -> None:
    assert featurekind.render(kind.from_pillar(value)) == text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (FLAG, "maybe"),
        (FLAG, ["on"]),
        (FLAG, 2),
        (TEXT, True),
        (TEXT, {"a": 1}),
        (TEXT, None),
        (number(1, 9), 0),
        (number(1, 9), 10),
        (number(1), "-1"),
        (number(1), "1e3"),
        (number(1), "\u0661"),
        (number(1), True),
        (number(1), 10**9),
        (one_of("bg", "tint"), "BG"),
        (words("words", "[a-z]+"), ["a b"]),
        (words("words", "[a-z]+"), "a  b"),
        (words("words", "[a-z]+"), ["A"]),
        (words("words", "[a-z]+"), [1]),
        (ANY, ["a"]),
        (ANY, None),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_expected(kind: Kind, value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind.from_pillar(value)
    assert "expected" in str(caught.value) or "neither" in str(caught.value)


@pytest.mark.parametrize("text", ["1", "0", "True", "False", "off"])
def test_every_text_but_an_empty_one_is_on(text: str) -> None:
    assert FLAG.parse(text) is True
    assert FLAG.parse("") is False
