"""Services: names that the VM will not ignore, and three answers."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.service import STATE_SCHEMA, ServiceName, ServiceState, hash_of, hashed_app, of_hash


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,47}", fullmatch=True))
def test_every_name_of_the_form_comes_back_as_written(text: Any) -> None:
    assert ServiceName.parse(text).render() == text


@pytest.mark.parametrize(
    "text", ["cups", "meminfo-writer", "app-dispvm.firefox", "_x", "0", "a" * 48, f"app-dispvm.{'a' * 236}"]
)
def test_names_that_the_vm_lets_through_are_accepted(text: str) -> None:
    assert ServiceName.parse(text).text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "getty@tty",
        "-x",
        ".x",
        ".",
        "..",
        "a/b",
        "a b",
        "cups\n",
        "a" * 49,
        f"app-dispvm.{'a' * 237}",
        "c\u00fcps",
        "a=b",
        "a\x00",
        "\u0661",
    ],
)
def test_names_that_the_vm_would_ignore_or_dom0_refuse_are_faults(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid service name"):
        ServiceName.parse(text)


def test_the_error_states_both_limits_of_the_whole_name() -> None:
    with pytest.raises(InvalidValue, match=r"48 characters at most, 247 if it begins with 'app-dispvm\.'"):
        ServiceName.parse(f"app-dispvm.{'a' * 237}")
    assert len(ServiceName.parse(f"app-dispvm.{'a' * 236}").text) == 247


def test_the_hash_of_an_application_is_that_of_qubesd() -> None:
    app = "org.gnome.Nautilus.desktop.very.long.name"
    assert hash_of(app) == base64.urlsafe_b64encode(hashlib.sha256(app.encode()).digest()).decode()[:43]
    assert of_hash(hash_of(app), app) == f"app-dispvm.{app}"
    assert hash_of("\udcff") == base64.urlsafe_b64encode(hashlib.sha256(b"\xff").digest()).decode()[:43]


def test_a_hash_of_another_application_and_a_short_name_stand_for_no_service() -> None:
    app = "x" * 40
    assert of_hash(hash_of("y" * 40), app) == ""
    assert of_hash(hash_of("firefox"), "firefox") == ""
    assert (hashed_app(f"app-dispvm.{app}"), hashed_app(f"app-dispvm.{'x' * 37}"), hashed_app("x" * 60)) == (
        app,
        "",
        "",
    )


@pytest.mark.parametrize("text", ["1", "0"])
def test_a_keys_text_comes_back_as_written(text: str) -> None:
    assert ServiceState.from_key(text).render() == text


@pytest.mark.parametrize("text", ["", "True", "10", "01", "on", "1\n", " 0", "\u0661"])
def test_a_key_with_any_other_text_is_a_fault(text: str) -> None:
    with pytest.raises(InvalidValue, match="neither '1' nor '0'"):
        ServiceState.from_key(text)


@pytest.mark.parametrize("state", list(ServiceState))
def test_the_word_of_a_state_leads_back_to_it(state: ServiceState) -> None:
    assert ServiceState.from_word(state.word()) is state


@pytest.mark.parametrize("word", [True, 1, "1", "true", "True", "on", "ON"])
def test_all_ways_to_say_on_are_the_same_state(word: bool | int | str) -> None:
    assert ServiceState.from_word(word) is ServiceState.ON


@pytest.mark.parametrize("word", [False, 0, "0", "false", "off"])
def test_all_ways_to_say_off_are_the_same_state(word: bool | int | str) -> None:
    assert ServiceState.from_word(word) is ServiceState.OFF


@pytest.mark.parametrize("word", ["", "auto", "enabled", 2, None, 1.0, [], "defaults"])
def test_another_word_is_a_fault(word: Any) -> None:
    with pytest.raises(InvalidValue, match="expected 'on', 'off' or 'default'"):
        ServiceState.from_word(word)


def test_the_schemas_take_what_the_parsers_take() -> None:
    names = Draft202012Validator(ServiceName.SCHEMA).is_valid
    assert all(map(names, ["cups", "_x", "0", "a" * 48, "app-dispvm.", f"app-dispvm.{'a' * 236}"]))
    assert not any(map(names, ["", "-x", "getty@tty", "a" * 49, f"app-dispvm.{'a' * 237}", f"app_dispvm.{'a' * 40}"]))
    states = Draft202012Validator(STATE_SCHEMA).is_valid
    assert all(map(states, [True, False, 1, 0, "1", "on", "OFF", "default", "Default", "no", "yes"]))
    assert not any(map(states, ["", "auto", 2, None, "defaults", []]))
