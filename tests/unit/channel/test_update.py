"""The keys of a state as YAML gives them: texts and whole numbers, anything else is one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.channel.update import path_text, tree, value_bytes
from vminterface.errors import InvalidValue, InvalidValues


def test_texts_and_numbers_are_values_and_names() -> None:
    assert value_bytes("é") == "é".encode()
    assert tree(None, "/a", {"b": 7, 3: {"c": None}}) == {"/a/b": b"7", "/a/3/c": None}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [pytest.param(16**5000, id="huge"), [16**5000], {16**5000}, 1.5, True, None, b"x", "\ud800"]
)
def test_what_is_neither_is_refused_in_one_short_sentence(value: Any) -> None:
    for check in (value_bytes, path_text) if not isinstance(value, str) else (value_bytes,):
        with pytest.raises(InvalidValue) as told:
            check(value)
        assert str(told.value).isprintable()
        assert len(str(told.value)) < 200


def test_a_name_that_is_neither_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidValues) as told:
        tree(None, "/a", {16**5000: "x", "\ud800": "y", "b": {1.5: "z"}})  # type: ignore[arg-type]
    assert [one.where[:5] for one in told.value.errors] == ["/a/0x", "/a/\\u", "/a/b/"]
