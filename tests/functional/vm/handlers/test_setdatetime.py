"""SetDateTime and GetDate on a machine whose clock is an offset: two seconds are right enough, real seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.handlers import VM
from vminterface.values import clock
from vminterface.vm.machine import systemclock
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.systemclock import CLOCK_OFFSET

SET, GET = "qubes.SetDateTime", "qubes.GetDate"


def in_seconds(seconds: float, *, colon: bool = True) -> bytes:
    return clock.render(datetime.now(UTC) + timedelta(seconds=seconds), colon=colon).encode()


def off_by(vm: VM) -> float:
    """How many seconds the VM's clock is ahead of this machine's."""
    return (systemclock.now(Files(str(vm.root))) - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize("colon", [True, False])
@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("hours", [-24 * 365, -1, 1, 24 * 365])
def test_the_clock_is_set(vm: VM, hours: int, end: bytes, colon: bool) -> None:
    reply = vm.call(SET, in_seconds(3600 * hours, colon=colon).removesuffix(b"\n") + end)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert off_by(vm) == pytest.approx(3600 * hours, abs=3)


def test_a_clock_that_is_right_is_left_alone(vm: VM) -> None:
    assert vm.call(SET, in_seconds(0)).status == 0
    assert not vm.root.joinpath(CLOCK_OFFSET[1:]).exists()


def test_a_clock_that_was_set_is_compared_from_then_on(vm: VM) -> None:
    assert vm.call(SET, in_seconds(7200)).status == 0
    first = vm.read(CLOCK_OFFSET)
    assert vm.call(SET, in_seconds(7200)).status == 0
    assert vm.read(CLOCK_OFFSET) == first
    assert vm.call(SET, in_seconds(0)).status == 0
    assert off_by(vm) == pytest.approx(0, abs=3)


def test_the_time_is_told_in_both_forms(vm: VM) -> None:
    vm.write(CLOCK_OFFSET, "-3600000000\n")
    for argument, size in (("", 26), ("nanoseconds", 36)):
        reply = vm.call(GET, b"", *([argument] if argument else []))
        assert (reply.status, reply.stderr, len(reply.stdout)) == (0, "", size)
        told = clock.parse_reply(reply.stdout)
        assert (told - datetime.now(UTC)).total_seconds() == pytest.approx(-3600, abs=3)


@pytest.mark.parametrize("argument", ["nanoseconds", "nanosecond", "ns", "seconds", "-u", "+", "a" * 60000])
def test_any_argument_asks_for_nanoseconds_as_of_the_stock_handler(vm: VM, argument: str) -> None:
    reply = vm.call(GET, b"", argument)
    assert (reply.status, reply.stderr) == (0, "")
    assert re.fullmatch(rb"....-..-..T..:..:..,[0-9]{9}\+00:00\n", reply.stdout)


def test_an_offset_that_is_no_number_is_named(vm: VM) -> None:
    vm.write(CLOCK_OFFSET, "soon\n")
    assert "clock-offset: 'soon\\n' is not a number" in vm.call(SET, in_seconds(0)).refused(SET)
