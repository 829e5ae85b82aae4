"""Gives each VM of a push its turn: those whose lock is free at once, the others as soon as theirs is.

A VM that another program holds costs its own time alone: nobody waits for it but itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from vminterface.deadline import Deadline
from vminterface.dom0.locks import PAUSES, VMLocks
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Targets
from vminterface.errors import Interrupted, VMInterfaceError

#: Pushes of VMs whose locks came free, at the same time.
AT_ONCE = 16

Run = Callable[[Sequence[VMSettings], Targets], list[Outcome]]


def run(settings: Sequence[VMSettings], targets: Targets, stop: threading.Event, push: Run) -> list[Outcome]:
    """Call *push* with parts of *settings* while this program holds their VMs' locks; return all outcomes, in order.

    A lock is waited for until *stop* is set, and for half of the VM's ``timeout`` at most; *push* gets the VM with what
    is left of that. A VM whose lock did not come free has that as its error. Raises LockUnavailable, and what *push*
    raises once all have had their turn.
    """
    if not settings:
        return []
    outcomes: dict[str, Outcome] = {}
    with VMLocks() as locks:

        def turn(some: Sequence[VMSettings], where: Targets) -> None:
            try:
                outcomes.update({outcome.vm: outcome for outcome in push(some, where)})
            finally:
                for one in some:
                    locks.release(one.vm)

        def later(some: Sequence[VMSettings]) -> None:
            with targets.another() as own:
                turn(some, own)

        wanted = {one.vm: one for one in settings}
        free = {vm: one for vm, one in wanted.items() if locks.take(vm)}
        ready = list(free.values())
        waiting = {vm: (one, Deadline.after(one.wait_before_writing)) for vm, one in wanted.items() if vm not in free}
        if not waiting:
            turn(ready, targets)
        else:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                turns = [pool.submit(turn, ready, targets)] if ready else []
                turns += _wait(waiting, locks, stop, outcomes, lambda some: pool.submit(later, some))
            for done in turns:
                done.result()
    return [outcomes[vm] for vm in wanted]


def _wait(
    waiting: dict[str, tuple[VMSettings, Deadline]],
    locks: VMLocks,
    stop: threading.Event,
    outcomes: dict[str, Outcome],
    begin: Callable[[Sequence[VMSettings]], Future[None]],
) -> list[Future[None]]:
    """Begin the turns of those of *waiting* whose locks come free; give the others their error."""
    turns = []
    pause, longest = PAUSES
    while waiting:
        free = [
            one.after_wait(deadline.seconds - deadline.remaining)
            for vm, (one, deadline) in waiting.items()
            if not stop.is_set() and locks.take(vm)
        ]
        for one in free:
            del waiting[one.vm]
        if free:
            turns.append(begin(free))
        for vm, (_, deadline) in list(waiting.items()):
            if stop.is_set() or deadline.passed:
                del waiting[vm]
                locks.give_up(vm)
                error: VMInterfaceError = locks.held(vm, deadline.seconds)
                if stop.is_set():
                    error = Interrupted(f"{vm}: interrupted before anything was written")
                outcomes[vm] = Outcome(vm, error=error)
        if waiting:
            stop.wait(pause)
            pause = min(2 * pause, longest)
    return turns
