"""Regular expressions of the library: compiled at their first use, and each of them one that Python takes."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

import pytest

from tests.unit.test_layers import MODULES
from vminterface.regex import regex


def test_it_does_what_the_compiled_one_does() -> None:
    word = regex(r"([a-z]+)-(?P<number>[0-9]+)", re.ASCII)
    assert word.pattern == r"([a-z]+)-(?P<number>[0-9]+)"
    for _ in range(2):
        found = word.fullmatch("vif-12")
        assert found is not None
        assert found.group(1, "number") == ("vif", "12")
        assert word.match("12") is None
        assert word.sub("x", "a-1 b-2") == "x x"
    assert regex(rb"\xff+").search(b"a\xff\xff") is not None
    assert regex("A", re.IGNORECASE).fullmatch("a") is not None


def test_it_is_compiled_at_its_first_use_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    real = re.compile

    def compile_(pattern: str, flags: int = 0) -> Any:
        compiled.append(pattern)
        return real(pattern, flags)

    monkeypatch.setattr(re, "compile", compile_)
    word = regex("[a-z]+")
    assert compiled == []
    assert word.fullmatch("a")
    assert word.fullmatch("b")
    assert compiled == ["[a-z]+"]


def test_an_unknown_attribute_is_none() -> None:
    with pytest.raises(AttributeError, match="fullmatches"):
        _ = regex("a").fullmatches  # type: ignore[attr-defined]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_regular_expression_of_the_library_is_one(module: str) -> None:
    if module.endswith("__main__"):
        return
    importlib.import_module(module)
    for name, value in vars(sys.modules[module]).items():
        members = value.values() if isinstance(value, dict) else [value]
        for one in members:
            if type(one) is type(regex("")):
                assert one.groups >= 0, name
