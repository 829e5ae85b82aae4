"""What takes its caller's time is done for a tenth of it at most, and what fails ever more rarely."""

from __future__ import annotations

from vminterface.dom0.reports.pace import Pace


def test_what_is_short_may_be_done_again_at_once() -> None:
    pace = Pace()
    assert pace.may(0.0)
    pace.done(0.0, 0.1)
    assert pace.may(0.1)


def test_what_took_a_second_is_not_done_again_for_nine() -> None:
    pace = Pace()
    pace.done(0.0, 1.0)
    assert not pace.may(9.9)
    assert pace.may(10.0)


def test_what_fails_waits_longer_each_time_up_to_a_bound_and_begins_anew_after_a_success() -> None:
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(8):
        pace.failed(now)
        pauses.append(pace.at - now)
        now = pace.at
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    pace.done(now, now)
    pace.failed(now)
    assert pace.at - now == 10
