"""The names of a VM's free keys: what qubesd takes for a feature ``vm-config.NAME``, and fits into a path."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.vmconfig import SCHEMA, ConfigName


@pytest.mark.parametrize("text", ["a", "my-app_1.mode", "My-App.Z", "x" * 52])
def test_a_name_is_rendered_as_it_is(text: str) -> None:
    assert ConfigName.parse(text).render() == text
    assert len(f"/vm-config/{text}") <= 63


@pytest.mark.parametrize("text", ["", "1a", "-a", ".a", "a/b", "a b", "a\n", "é", "x" * 53, "vminterface-dns"])
def test_anything_else_and_what_is_our_own_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected"):
        ConfigName.parse(text)


def test_the_schema_takes_what_the_parser_takes() -> None:
    valid = Draft202012Validator(SCHEMA).is_valid
    assert all(map(valid, ["a", "my-app_1.mode", "x" * 52, "vminterfac-e"]))
    assert not any(map(valid, ["", "1a", "a/b", "x" * 53, "vminterface-dns", 5]))
