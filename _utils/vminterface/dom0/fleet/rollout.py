"""The rule of a rollout, whatever its units are: wave by wave, stop where too much fails, give that wave back.

What it promises: no unit is touched before its wave has come; once as many have failed as are too many, no other wave
is begun and the units of that wave are as they were; a unit that fails is as it was in any case, as a push is all or
nothing. Where it is killed, :func:`resume` gives back the wave that was under way and begins it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vminterface.dom0.fleet.journal import DONE, FAILED, LEFT, RESTORED, WAITING, Journal, Unit
from vminterface.errors import InvalidValue

#: How a rollout ended.
COMPLETE, STOPPED, TAKEN_BACK = "complete", "stopped", "taken back"
#: How one is said to have ended where there is nothing to take back.
NEVER_BEGUN = "never begun"

#: Says what the units of a wave have, as Take reads it, before they are given anything; and why some cannot be reached.
Observe = Callable[[Sequence[str]], tuple[Mapping[str, Any], Mapping[str, str]]]
#: Gives the units of a wave what they are to have; returns, by unit, DONE, FAILED or UNSURE, with one sentence.
Give = Callable[[Sequence[str]], Mapping[str, Unit]]
#: Gives units back what they had; returns, by unit, what could not be done, empty where all was.
Take = Callable[[Mapping[str, Any]], Mapping[str, str]]


def run(journal: Journal, observe: Observe, give: Give, take: Take, *, failures: int = 1) -> None:
    """Do the waves of *journal* that are left, and note in it the result of each unit; *failures* are too many.

    What *observe*, *give* or *take* raise comes out, with the journal as it was noted last.
    """
    if failures < 1:
        raise InvalidValue("expected a number from 1", "failures")
    while not journal.ended and journal.done < len(journal.waves):
        wave = list(journal.wave)
        former, unreachable = observe(wave)
        if journal.failures + len(unreachable) >= failures:
            # Nothing has been given to anybody of it yet, and enough is known.
            journal.units.update({unit: Unit(FAILED, text) for unit, text in unreachable.items()})
            journal.failures += len(unreachable)
            journal.ended = STOPPED
            journal.write()
            return
        journal.former.update(former)
        journal.begun = True
        journal.write()
        results = give(wave)
        journal.units.update(results)
        journal.failures += sum(one.state != DONE for one in results.values())
        if journal.failures >= failures:
            journal.ended = STOPPED
            journal.write()
            _give_back(journal, [unit for unit in wave if journal.units[unit].state != FAILED], take)
            return
        journal.done, journal.begun = journal.done + 1, False
        journal.write()
    if not journal.ended:
        journal.ended = COMPLETE
        journal.write()


def resume(journal: Journal, observe: Observe, give: Give, take: Take, *, failures: int = 1) -> None:
    """Go on with a rollout that was killed, or whose cause to stop is gone; what is complete stays as it is.

    The wave that was under way is given back first, so that it begins as it did. Failures count from here on.
    """
    if journal.ended in (COMPLETE, TAKEN_BACK):
        return
    if journal.begun:
        begun = [unit for unit in journal.wave if journal.units[unit].state not in (FAILED, RESTORED)]
        _give_back(journal, begun, take)
    journal.ended, journal.begun, journal.failures = "", False, 0
    for unit in journal.units.values():
        if unit.state != DONE:
            unit.state, unit.message = WAITING, ""
    journal.write()
    run(journal, observe, give, take, failures=failures)


def restore(journal: Journal, take: Take) -> None:
    """Give all units back what they had before the rollout, those of complete waves too."""
    touched = journal.touched
    journal.ended = TAKEN_BACK
    journal.write()
    _give_back(journal, touched, take)


def _give_back(journal: Journal, units: Sequence[str], take: Take) -> None:
    """Give *units* back what they had; those of which the journal has nothing had all of it already."""
    left = take({unit: journal.former[unit] for unit in units if unit in journal.former})
    for unit in units:
        text = left.get(unit, "")
        journal.units[unit] = Unit(LEFT, text) if text else Unit(RESTORED, "")
    journal.write()
