"""The clock's tolerance, in seconds and not in decimal digits, on a clock that only remembers what it was told."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest

from vminterface.values import clock
from vminterface.vm.handlers import setdatetime
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine


class Clock:
    """A clock that stands still."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.was_set = False

    def now(self, files: Files) -> datetime:
        return self.moment

    def set_clock(self, files: Files, moment: datetime) -> None:
        self.moment = moment
        self.was_set = True


def given(moment: datetime) -> None:
    data = io.BytesIO(clock.render(moment).encode())
    setdatetime.handle(Call("qubes.SetDateTime", "dom0", "", data, io.BytesIO(), Machine("/nonexistent")))


@pytest.mark.parametrize("second", [10, 43, 59])
@pytest.mark.parametrize(
    ("off", "is_set"), [(-3, True), (-2, False), (-1, False), (0, False), (1, False), (2, False), (3, True)]
)
def test_two_seconds_are_right_enough_over_a_minutes_end_too(
    monkeypatch: pytest.MonkeyPatch, second: int, off: int, is_set: bool
) -> None:
    own = Clock(datetime(2027, 7, 31, 16, 10, second, tzinfo=UTC))
    monkeypatch.setattr(setdatetime, "systemclock", own)
    desired = own.moment + timedelta(seconds=off)
    given(desired)
    assert own.was_set == is_set
    assert own.moment == (desired if is_set else own.moment)
