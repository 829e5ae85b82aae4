"""Names of VMs and of their users, as dom0 allows them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.vmname import NOT_DOM0, SCHEMA, USER_SCHEMA, VMName, is_dom0, parse_default_user, refuse_dom0


@pytest.mark.parametrize("text", ["work", "a", "sys-net", "Fedora-40.min_x", "a" * 31, "a-dmz", "dom0", "NONE"])
def test_legal_names_come_back_as_written(text: str) -> None:
    assert VMName.parse(text).render() == text


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,30}", fullmatch=True).filter(lambda t: not t.endswith("-dm")))
def test_every_name_of_that_form_comes_back_as_written(text: Any) -> None:
    if text not in ("none", "default"):
        assert VMName.parse(text).render() == text


@pytest.mark.parametrize(
    "text", ["", "a" * 32, "1work", "-work", "_work", ".", "wo rk", "work/", "work\n", "w\u00f6rk", "../x", "a:b"]
)
def test_names_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid VM name"):
        VMName.parse(text)


@pytest.mark.parametrize("text", ["none", "default", "Domain-0", "work-dm"])
def test_names_with_a_meaning_of_their_own_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="reserved"):
        VMName.parse(text)


@pytest.mark.parametrize("text", ["user", "joanna.r", "Anna-M", "a+b,c_d-e", "0", "u" * 32])
def test_legal_user_names_are_accepted(text: str) -> None:
    assert parse_default_user(text) == text


@pytest.mark.parametrize("text", ["", "-user", "u" * 33, "user:x", "us er", "root\n", "$(id)", "\u00fcser", "a/b"])
def test_other_user_names_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid user name"):
        parse_default_user(text)


@pytest.mark.parametrize("other", [5, True, ["user"], None, [16**5000]])
def test_what_is_no_text_is_no_user(other: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a user name"):
        parse_default_user(other)


@pytest.mark.parametrize("name", ["dom0", "Domain-0", "0", 0, "@adminvm"])
def test_what_dom0_goes_by_is_no_vm(name: int | str) -> None:
    for where in ("", "qubes:vms"):
        with pytest.raises(InvalidValue, match=f"'{name}' is dom0 itself, which is not a VM") as caught:
            refuse_dom0(name, where)
        assert caught.value.where == where
    with pytest.raises(InvalidValue) as caught:
        refuse_dom0(name)
    assert caught.value.where == ""


@pytest.mark.parametrize("name", ["work", "dom0-backup", "Dom0", "", 1, False, None, ["dom0"], 0.0])
def test_everything_else_is_not_dom0(name: Any) -> None:
    assert not is_dom0(name)
    refuse_dom0(name)


def test_the_schemas_take_what_the_parsers_take() -> None:
    name, vm, user = (Draft202012Validator(form).is_valid for form in (SCHEMA, NOT_DOM0, USER_SCHEMA))
    for text in ("work", "a" * 31, "Fedora-40.min_x", "a-dmz"):
        assert name(text)
        assert vm(text)
    assert not any(map(name, ["", "a" * 32, "1work", "wo rk", "none", "default", "Domain-0", "work-dm", 5]))
    assert not any(map(vm, ["dom0", "Domain-0", "0", "@adminvm", "none", "work-dm"]))
    assert name("dom0")
    assert not any(map(vm, ["", "1work", "wo rk", 5]))
    assert all(map(user, ["user", "a+b,c_d-e", "0", "u" * 32]))
    assert not any(map(user, ["", "-user", "u" * 33, "us er", 5]))
