"""Events of qubesd in memory: the same whatever pieces they arrive in, and bounded whatever arrives."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.qubesd.events import encoded
from vminterface.errors import OutputTooLarge, RemoteProtocolError
from vminterface.wire.adminevents import AdminEvent, EventParser

texts = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=20)
values = st.dictionaries(texts.filter(bool), texts, max_size=4)
events = st.builds(AdminEvent, texts, texts, values)


def all_of(parser: EventParser) -> list[AdminEvent]:
    found = []
    while (event := parser.next_event()) is not None:
        found.append(event)
    return found


@given(st.lists(events, max_size=4), st.lists(st.integers(0, 400), max_size=6))
def test_pieces_make_no_difference(sent: Any, cuts: Any) -> None:
    data = b"".join(encoded(one.vm, one.name, dict(one.values)) for one in sent)
    parser, found, begin = EventParser(), [], 0
    for end in [*sorted(cuts), len(data)]:
        parser.receive_data(data[begin:end])
        found += all_of(parser)
        begin = max(begin, end)
    assert found == sent


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_an_error_or_not_enough(data: Any) -> None:
    parser = EventParser()
    parser.receive_data(data)
    with suppress(RemoteProtocolError, OutputTooLarge):
        all_of(parser)


def test_a_value_may_be_empty_and_an_event_may_have_none() -> None:
    parser = EventParser()
    parser.receive_data(b"1\0work\0domain-feature-set:x\0feature\0x\0value\0\0\0" + b"1\0\0connection-established\0\0")
    assert all_of(parser) == [
        AdminEvent("work", "domain-feature-set:x", {"feature": "x", "value": ""}),
        AdminEvent("", "connection-established", {}),
    ]


def test_an_event_has_up_to_64_keys_and_256_kib() -> None:
    parser = EventParser()
    keys = b"".join(b"k%d\0v\0" % number for number in range(64))
    long = b"1\0work\0x\0key\0"
    long += b"v" * (256 * 1024 - 1 - len(long)) + b"\0\0"
    parser.receive_data(b"1\0work\0x\0" + keys + b"\0" + long)
    assert [len(event.values) for event in all_of(parser)] == [64, 1]


def test_how_much_waits_behind_an_event_makes_no_difference() -> None:
    parser = EventParser()
    parser.receive_data(b"1\0work\0x\0\0" * 40_000)
    assert len(all_of(parser)) == 40_000


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"0\0", RemoteProtocolError, "did not send an event but '0"),
        (b"2\0QubesException\0\0no\0", RemoteProtocolError, "did not send an event but '2"),
        (b"10\0work\0x\0\0", RemoteProtocolError, "did not send an event but '10'"),
        (b"1\0caf\xe9\0x\0\0", RemoteProtocolError, "not ASCII"),
        (b"1\0work\0" + b"x" * 256 * 1024, OutputTooLarge, "more than 262144 bytes"),
        (b"1\0work\0x\0key\0" + b"v" * 256 * 1024 + b"\0\0", OutputTooLarge, "more than 262144 bytes"),
        (b"1\0work\0x\0" + b"k\0v\0" * 66, OutputTooLarge, "64 keys"),
        # Not only when the event is whole.
        (b"1\0work\0x\0" + b"k\0v\0" * 64 + b"k\0", OutputTooLarge, "64 keys"),
    ],
)
def test_what_is_no_event_or_too_much_of_one_is_an_error(data: bytes, error: type[Any], message: str) -> None:
    parser = EventParser()
    parser.receive_data(data)
    with pytest.raises(error, match=message):
        parser.next_event()
