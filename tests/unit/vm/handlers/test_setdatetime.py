"""The clock's tolerance, in seconds and not in decimal digits, on a machine that only remembers what it was told."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest

from vminterface.values import clock
from vminterface.vm.handlers import setdatetime
from vminterface.vm.handlers.call import Call
from vminterface.vm.machine import Machine


class Clock(Machine):
    """A machine whose clock stands still."""

    def __init__(self, moment: datetime) -> None:
        super().__init__("/nonexistent")
        self.moment = moment
        self.was_set = False

    def now(self) -> datetime:
        return self.moment

    def set_clock(self, moment: datetime) -> None:
        self.moment = moment
        self.was_set = True


def given(machine: Machine, moment: datetime) -> None:
    data = io.BytesIO(clock.render(moment).encode())
    setdatetime.handle(Call("qubes.SetDateTime", "dom0", "", data, io.BytesIO(), machine))


@pytest.mark.parametrize("second", [10, 43, 59])
@pytest.mark.parametrize(
    ("off", "is_set"), [(-3, True), (-2, False), (-1, False), (0, False), (1, False), (2, False), (3, True)]
)
def test_two_seconds_are_right_enough_over_a_minutes_end_too(second: int, off: int, is_set: bool) -> None:
    machine = Clock(datetime(2027, 7, 31, 16, 10, second, tzinfo=UTC))
    wanted = machine.moment + timedelta(seconds=off)
    given(machine, wanted)
    assert machine.was_set == is_set
    assert machine.moment == (wanted if is_set else machine.moment)
