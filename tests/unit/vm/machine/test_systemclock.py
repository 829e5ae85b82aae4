"""The clock: the kernel's, or an offset to it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine import systemclock
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.systemclock import CLOCK_OFFSET


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(str(tmp_path))


def test_the_clock_of_a_machine_below_a_root_is_an_offset(files: Files) -> None:
    assert abs((systemclock.now(files) - datetime.now(UTC)).total_seconds()) < 5
    desired = datetime(2031, 2, 3, 4, 5, 6, 789, UTC)
    systemclock.set_clock(files, desired)
    assert 0 <= (systemclock.now(files) - desired).total_seconds() < 5
    assert files.read_text(CLOCK_OFFSET) is not None


def test_a_whole_machine_with_a_clock_of_its_own_has_it_set(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(time, "clock_settime_ns", lambda clock, moment: told.append((clock, moment)))
    monkeypatch.setattr(Files, "is_whole", True)
    systemclock.set_clock(files, datetime(2031, 2, 3, 4, 5, 6, 789, UTC))
    assert told == [(time.CLOCK_REALTIME, 1927857906000789000)]
    assert files.read_text(CLOCK_OFFSET) is None


def test_a_whole_machine_that_shares_a_clock_keeps_an_offset(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_settime_ns", lambda *_: pytest.fail("the machine's clock was set"))
    monkeypatch.setattr(Files, "is_whole", True)
    files.write_file(CLOCK_OFFSET, "0\n")
    desired = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
    systemclock.set_clock(files, desired)
    assert 0 <= (systemclock.now(files) - desired).total_seconds() < 5


def test_a_clock_that_may_not_be_set_is_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(time, "clock_settime_ns", refuse)
    monkeypatch.setattr(Files, "is_whole", True)
    with pytest.raises(VMInterfaceError, match=r"^the clock: Operation not permitted$"):
        systemclock.set_clock(files, datetime(2031, 2, 3, tzinfo=UTC))
