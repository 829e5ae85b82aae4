"""A call as its handler sees it: who calls, with what argument, and input that is bounded in bytes and seconds."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import Any

import pytest

from vminterface.errors import DeadlineExceeded, InvalidValue
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine


def call(data: bytes = b"", argument: str = "") -> Call:
    return Call("test.Service", "dom0", argument, io.BytesIO(data), io.BytesIO(), Machine())


def received(environment: dict[str, str], *arguments: str) -> Call:
    stream = io.BytesIO()
    return Call.received("test.Service", Machine(), stream, stream, environment=environment, arguments=arguments)


@pytest.fixture
def pipe() -> Iterator[tuple[Call, int]]:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as stdin, open(writing, "wb", buffering=0):
        yield Call("test.Service", "dom0", "", stdin, io.BytesIO(), Machine()), writing


@pytest.mark.parametrize("source", ["dom0", "work", "sys-net", "win7-dm", "@adminvm", "A" * 31])
def test_a_source_is_a_vm_or_dom0_or_a_keyword(source: str) -> None:
    assert received({"QREXEC_REMOTE_DOMAIN": source}).source == source


@pytest.mark.parametrize("source", ["", "@", "../etc", "a b", "-x", "1a", "a" * 35, "ż", "a\n", "a/b", "@@a"])
def test_any_other_source_is_refused(source: str) -> None:
    with pytest.raises(InvalidValue, match="calling VM"):
        received({"QREXEC_REMOTE_DOMAIN": source})


def test_without_a_source_it_says_who_starts_such_programs_once_one_is_needed() -> None:
    one = received({})
    assert one.argument == ""
    with pytest.raises(InvalidValue, match="the qrexec agent starts this program"):
        _ = one.source


def test_the_argument_is_the_same_in_both_places_or_in_one() -> None:
    source = {"QREXEC_REMOTE_DOMAIN": "dom0"}
    assert received(source).argument == ""
    assert received({**source, "QREXEC_SERVICE_ARGUMENT": ""}).argument == ""
    assert received(source, "a+b").argument == "a+b"
    assert received({**source, "QREXEC_SERVICE_ARGUMENT": "x"}).argument == "x"
    assert received({**source, "QREXEC_SERVICE_ARGUMENT": "x"}, "x").argument == "x"
    with pytest.raises(InvalidValue, match="differs from the one in the environment"):
        received({**source, "QREXEC_SERVICE_ARGUMENT": "x"}, "y")
    with pytest.raises(InvalidValue, match="differs from the one in the environment"):
        received({**source, "QREXEC_SERVICE_ARGUMENT": "x"}, "x", "x")


@pytest.mark.parametrize("argument", ["a b", "a/b", "a\n", "ż", "a" * 65001])
def test_an_argument_of_other_characters_or_too_long_is_refused(argument: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid service argument"):
        received({"QREXEC_REMOTE_DOMAIN": "dom0"}, argument)


def test_a_service_without_arguments_refuses_one() -> None:
    call().refuse_argument()
    with pytest.raises(InvalidValue, match="does not accept an argument, but got 'x'"):
        call(argument="x").refuse_argument()


def test_input_is_read_to_its_end_within_a_limit() -> None:
    assert call(b"").read_all(3) == b""
    assert call(b"abc").read_all(3) == b"abc"
    with pytest.raises(InvalidValue, match="at most 3 bytes"):
        call(b"abcd").read_all(3)


def test_a_line_is_read_and_nothing_behind_it(pipe: tuple[Call, int]) -> None:
    one, writing = pipe
    os.write(writing, b"first\nsecond\nrest")
    assert one.read_line(10) == b"first\n"
    assert one.read_line(10) == b"second\n"
    assert os.read(one.stdin.fileno(), 100) == b"rest"


def test_the_last_line_may_lack_its_end_and_then_there_is_nothing() -> None:
    one = call(b"a\nb")
    assert [one.read_line(5) for _ in range(3)] == [b"a\n", b"b", b""]


def test_a_line_that_is_too_long_is_refused() -> None:
    assert call(b"abc\n").read_line(4) == b"abc\n"
    with pytest.raises(InvalidValue, match="at most 4 bytes"):
        call(b"abcd\n").read_line(4)


def test_a_caller_that_says_nothing_costs_its_time_and_no_more(pipe: tuple[Call, int]) -> None:
    one, writing = pipe
    with pytest.raises(DeadlineExceeded, match="input"):
        one.read_all(10, timeout=0.05)
    os.write(writing, b"half a line")
    with pytest.raises(DeadlineExceeded, match="input"):
        one.read_line(100, timeout=0.05)


def test_a_calls_time_is_for_its_input_and_its_programs_together(pipe: tuple[Call, int]) -> None:
    one, _ = pipe
    deadline = one.within(0.3)
    with pytest.raises(DeadlineExceeded, match=r"sleep: .* within 0\.3 s"):
        one.machine.run(["sleep", "10"])
    assert deadline.passed
    with pytest.raises(DeadlineExceeded, match=r"input: no reply within 0\.3 s"):
        one.read_all(10)
    with pytest.raises(DeadlineExceeded, match=r"true: no reply within 0\.3 s"):
        one.machine.run(["true"])


def test_all_is_written_whatever_one_write_takes() -> None:
    class Slow(io.BytesIO):
        def write(self, data: Any) -> Any:
            return super().write(data[:3])

    one = call()
    one.stdout = Slow()
    one.write(b"0123456789")
    assert one.stdout.getvalue() == b"0123456789"
