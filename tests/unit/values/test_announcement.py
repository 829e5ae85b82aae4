"""What an agent says of itself, with what its VM's owner does not accept, and how older sides read that."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values.acceptance import IGNORE, REFUSE
from vminterface.values.announcement import Announcement
from vminterface.vm.handlers.runtime.owner import SETTINGS

#: The form that dom0s before the owner's file accept.
FORMER = re.compile(r"1 [0-9A-Za-z.+-]{1,32}(?: [a-z_]{1,32}){0,32}\Z", re.ASCII)


def test_an_agent_before_the_owners_file_is_read_as_one_that_accepts_all() -> None:
    found = Announcement.parse("1 0.1.0 debug timezone")
    assert found.settings == {"debug", "timezone"}
    assert found.unaccepted == {}
    assert found.render() == "1 0.1.0 debug timezone"


def test_what_the_owner_does_not_accept_is_announced_and_not_promised() -> None:
    text = "1 0.1.0 ignored_debug name unaccepted_network"
    found = Announcement.parse(text)
    assert found.settings == {"name"}
    assert found.unaccepted == {"debug": IGNORE, "network": REFUSE}
    assert found.render() == text


def test_what_is_both_promised_and_unaccepted_is_not_waited_for() -> None:
    assert Announcement.parse("1 0 debug unaccepted_debug").settings == frozenset()


@given(st.dictionaries(st.sampled_from(SETTINGS), st.sampled_from([IGNORE, REFUSE])))
def test_a_former_dom0_reads_it_as_an_agent_that_does_not_apply_these_settings(unaccepted: Any) -> None:
    announcement = Announcement("0.1.0", frozenset(SETTINGS) - unaccepted.keys(), unaccepted)
    text = announcement.render()
    assert FORMER.match(text)
    assert set(text.split(" ")[2:]) & set(SETTINGS) == announcement.settings
    assert Announcement.parse(text) == announcement


def test_an_announcement_without_more_accepts_all() -> None:
    assert Announcement("0.1.0", frozenset()).unaccepted == {}


@pytest.mark.parametrize("text", ["1 1.0-RC2+b debug", "1 0" + " s" + " " + "s" * 32 + " x" * 30])
def test_a_version_has_letters_of_both_cases_and_up_to_32_settings_have_up_to_32_characters(text: str) -> None:
    assert Announcement.parse(text).version == text.split(" ")[1]


@pytest.mark.parametrize(
    "text",
    ["", "1", "2 0.1.0 debug", "1 0.1.0  debug", "1 0.1.0 Debug", "1 0 debug\n", "1 0 d\x1b", "1 0" + " s" * 33],
)
def test_other_texts_from_the_vm_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid announcement of an agent"):
        Announcement.parse(text)
