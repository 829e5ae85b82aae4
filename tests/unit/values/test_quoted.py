"""A number or truth value that is quoted in YAML is a text: the error about it says so."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.values.quoted import hint


@pytest.mark.parametrize("value", ["42", "0", "-7", "+7", "1.5", "10.25", "true", "False", "ON", "off", "Yes", "nO"])
def test_a_text_that_yaml_would_read_as_something_else_without_quotes_gets_the_hint(value: str) -> None:
    assert hint(value) == " (unquote it)"


@pytest.mark.parametrize(
    "value", ["", "a", "4 2", "42a", "a42", "1.", ".5", "1.2.3", "--1", "onward", "non", 42, 1.5, True, None, ["42"]]
)
def test_any_other_value_does_not(value: Any) -> None:
    assert hint(value) == ""
