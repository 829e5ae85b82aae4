"""Times in services: only the written form, only UTC, only times that can be right."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vminterface.errors import InvalidValue
from vminterface.values import clock

NOON = datetime(2026, 7, 31, 16, 10, 43, tzinfo=UTC)
moments = st.datetimes(datetime(2022, 7, 10, 17, 8, 32), datetime(2099, 12, 31, 23, 59, 59, 999999)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@pytest.mark.parametrize("offset", ["+0000", "+00:00"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_both_forms_are_read_with_or_without_a_lines_end(offset: str, end: str) -> None:
    assert clock.parse(f"2026-07-31T16:10:43{offset}{end}") == NOON


def test_both_forms_are_written() -> None:
    assert clock.render(NOON) == "2026-07-31T16:10:43+00:00\n"
    assert clock.render(NOON, colon=False) == "2026-07-31T16:10:43+0000\n"
    assert clock.render(NOON.astimezone(timezone(timedelta(hours=2)))) == "2026-07-31T16:10:43+00:00\n"


@given(moments, st.booleans())
def test_what_was_written_is_read_again(moment: Any, colon: Any) -> None:
    assert clock.parse(clock.render(moment, colon=colon)) == moment.replace(microsecond=0)
    assert clock.parse_reply(clock.render_reply(moment)) == moment.replace(microsecond=0)
    assert clock.parse_reply(clock.render_reply(moment, nanoseconds=True)) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "tomorrow",
        "now",
        "2026-07-31",
        "2026-07-31T16:10:43",
        "2026-07-31T16:10:43Z",
        "2026-07-31T16:10:43+02:00",
        "2026-07-31T16:10:43-00:00",
        "2026-07-31 16:10:43+00:00",
        "2026-07-31T16:10:43+00:00\n\n",
        "2026-07-31T16:10:43+00:00 ",
        " 2026-07-31T16:10:43+00:00",
        "2026-07-31T16:10:43,000000000+00:00",
        "2026-13-01T00:00:00+00:00",
        "2026-02-29T00:00:00+00:00",
        "2026-07-31T24:00:00+00:00",
        "2026-07-31T16:60:00+00:00",
        "2026-07-31T16:10:61+00:00",
        "٢026-07-31T16:10:43+00:00",
        "2022-07-10T17:08:31+00:00",
        "1970-01-01T00:00:00+00:00",
        "2100-01-01T00:00:00+00:00",
        "9999-12-31T23:59:59+00:00",
        "0000-00-00T00:00:00+00:00",
        "@1785514243",
        "2026-07-31T16:10:43+00:00\0",
        "2026-07-31T16:10:43+00:00\n2026-07-31T16:10:43+00:00\n",
    ],
)
def test_every_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        clock.parse(text)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is not UTC."""
    monkeypatch.setenv("TZ", "XYZ-5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_what_is_written_is_utc_wherever_the_machine_is(elsewhere: None) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert clock.render(moment) == "2026-01-02T01:04:05+00:00\n"
    assert clock.render_reply(moment) == b"2026-01-02T01:04:05+00:00\n"


def test_the_first_second_that_can_be_right_is_taken() -> None:
    assert clock.parse("2022-07-10T17:08:32+00:00") == clock.EARLIEST + timedelta(seconds=1)


def test_the_last_moment_that_can_be_right_is_taken() -> None:
    last = clock.parse_reply(b"2099-12-31T23:59:59,999999999+00:00\n")
    assert last == clock.LATEST - timedelta(microseconds=1)
    with pytest.raises(InvalidValue, match="'2100-01-01T00:00:00' is too late"):
        clock.parse_reply(b"2100-01-01T00:00:00,000000000+00:00\n")


def test_an_answer_has_26_or_36_bytes() -> None:
    assert clock.parse_reply(b"2026-07-31T16:10:43+00:00\n") == NOON
    assert clock.parse_reply(b"2026-07-31T16:10:43,123456789+00:00\n") == NOON.replace(microsecond=123456)
    assert len(clock.render_reply(NOON)) == 26
    assert len(clock.render_reply(NOON, nanoseconds=True)) == 36


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"2026-07-31T16:10:43+00:00",
        b"2026-07-31T16:10:43+0000\n",
        b"2026-07-31T16:10:43+00:00\n\n",
        b"2026-07-31T16:10:43,1+00:00\n",
        b"2026-07-31T16:10:43.123456789+00:00\n",
        b"\xff" * 26,
        b"2022-07-10T17:08:31,999999999+00:00\n"[:26],
        b"2022-07-10T17:08:31+00:00\n",
        b"2026-99-31T16:10:43+00:00\n",
    ],
)
def test_every_other_answer_is_refused(reply: bytes) -> None:
    with pytest.raises(InvalidValue):
        clock.parse_reply(reply)
