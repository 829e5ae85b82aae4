"""Services: names that the VM will not ignore, and three answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.service import ServiceName, ServiceState


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,47}", fullmatch=True))
def test_every_name_of_the_form_comes_back_as_written(text):
    assert ServiceName.parse(text).render() == text


@pytest.mark.parametrize("text", ["cups", "meminfo-writer", "app-dispvm.firefox", "_x", "0", "a" * 48])
def test_names_that_the_vm_lets_through_are_accepted(text):
    assert ServiceName.parse(text).text == text


@pytest.mark.parametrize(
    "text",
    ["", "getty@tty", "-x", ".x", ".", "..", "a/b", "a b", "cups\n", "a" * 49, "c\u00fcps", "a=b", "a\x00", "\u0661"],
)
def test_names_that_the_vm_would_ignore_or_dom0_refuse_are_faults(text):
    with pytest.raises(InvalidValue, match="no service name"):
        ServiceName.parse(text)


def test_a_name_with_a_dot_is_a_fault_where_the_channel_is_xenstore():
    assert not ServiceName.parse("app-dispvm.firefox").fits_xenstore
    with pytest.raises(InvalidValue, match="cannot be a key in XenStore"):
        ServiceName.parse("app-dispvm.firefox", xenstore=True)


def test_a_name_without_a_dot_fits_either_channel():
    assert ServiceName.parse("qubes-update-check", xenstore=True).fits_xenstore


@pytest.mark.parametrize("text", ["1", "0"])
def test_a_keys_text_comes_back_as_written(text):
    assert ServiceState.from_key(text).key_text() == text


@pytest.mark.parametrize("text", ["", "True", "10", "01", "on", "1\n", " 0", "\u0661"])
def test_a_key_with_any_other_text_is_a_fault(text):
    with pytest.raises(InvalidValue, match="neither '1' nor '0'"):
        ServiceState.from_key(text)


@pytest.mark.parametrize("state", list(ServiceState))
def test_the_word_of_a_state_leads_back_to_it(state):
    assert ServiceState.from_word(state.word()) is state


def test_default_has_no_key():
    assert ServiceState.DEFAULT.key_text() is None


@pytest.mark.parametrize("word", [True, 1, "1", "true", "True", "on", "ON"])
def test_all_ways_to_say_on_are_the_same_state(word):
    assert ServiceState.from_word(word) is ServiceState.ON


@pytest.mark.parametrize("word", [False, 0, "0", "false", "off"])
def test_all_ways_to_say_off_are_the_same_state(word):
    assert ServiceState.from_word(word) is ServiceState.OFF


@pytest.mark.parametrize("word", ["", "auto", "enabled", 2, None, 1.0, [], "defaults"])
def test_another_word_is_a_fault(word):
    with pytest.raises(InvalidValue, match="expected 'on', 'off' or 'default'"):
        ServiceState.from_word(word)
