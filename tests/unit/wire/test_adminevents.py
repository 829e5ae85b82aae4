"""Events of qubesd in memory: the same whatever pieces they arrive in, and bounded whatever arrives."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.qubesd.events import encoded
from vminterface.errors import OutputTooLarge, RemoteProtocolError
from vminterface.wire.adminevents import EVENT_LIMIT, KEYS_MAX, AdminEvent, EventParser

texts = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=20)
values = st.dictionaries(texts.filter(bool), texts, max_size=4)
events = st.builds(AdminEvent, texts, texts, values)


def all_of(parser: EventParser) -> list[AdminEvent]:
    found = []
    while (event := parser.next_event()) is not None:
        found.append(event)
    return found


@given(st.lists(events, max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_pieces_make_no_difference(sent, cuts):
    data = b"".join(encoded(one.vm, one.name, dict(one.values)) for one in sent)
    parser, found, begin = EventParser(), [], 0
    for end in [*sorted(cuts), len(data)]:
        parser.receive_data(data[begin:end])
        found += all_of(parser)
        begin = max(begin, end)
    assert found == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_an_error_or_not_enough(data):
    parser = EventParser()
    parser.receive_data(data)
    with suppress(RemoteProtocolError, OutputTooLarge):
        all_of(parser)


def test_a_value_may_be_empty_and_an_event_may_have_none():
    parser = EventParser()
    parser.receive_data(b"1\0work\0domain-feature-set:x\0feature\0x\0value\0\0\0" + b"1\0\0connection-established\0\0")
    assert all_of(parser) == [
        AdminEvent("work", "domain-feature-set:x", {"feature": "x", "value": ""}),
        AdminEvent("", "connection-established", {}),
    ]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"0\0", RemoteProtocolError),
        (b"2\0QubesException\0\0no\0", RemoteProtocolError),
        (b"10\0work\0x\0\0", RemoteProtocolError),
        (b"1\0caf\xe9\0x\0\0", RemoteProtocolError),
        (b"1\0work\0" + b"x" * (EVENT_LIMIT + 1), OutputTooLarge),
        (b"1\0work\0x\0" + b"k\0v\0" * (KEYS_MAX + 2), OutputTooLarge),
    ],
)
def test_what_is_no_event_or_too_much_of_one_is_an_error(data, error):
    parser = EventParser()
    parser.receive_data(data)
    with pytest.raises(error):
        parser.next_event()
