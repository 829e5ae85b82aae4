"""What a program holds while it has nothing to do, at two times: what it has leaked in between is the difference.

A watcher has a connection for each VM that it is pushing to, so its descriptors and threads go up and down with what
the soak does; a slope of these says how busy it was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from tests.soak.measures import DESCRIPTORS, THREADS, identify, measure
from tests.soak.slope import HOUR, Slope
from vminterface.deadline import Deadline

#: Seconds for which nothing may change, and between two looks.
CALM, LOOK = 6.0, 0.5
COUNTS = (DESCRIPTORS, THREADS)

#: When (monotonic, seconds), and what was held by measure.
Rest = tuple[float, Mapping[str, float]]


def at_rest(pid: int, seconds: float) -> Rest | None:
    """Wait up to *seconds* until the process *pid* holds the same for CALM seconds; None where it never does."""
    deadline, since, before = Deadline.after(seconds), time.monotonic(), None
    process = identify(pid)
    while process is not None and not deadline.passed:
        now, found = time.monotonic(), measure(process)
        if found is None:
            return None
        held = {name: found[name] for name in COUNTS}
        if held != before:
            since, before = now, held
        elif now - since >= CALM:
            return now, held
        time.sleep(LOOK)
    return None


def growth(name: str, first: Rest | None, last: Rest | None, allowed: float = 0.0) -> Slope | None:
    """Return how much more of *name* is held at the *last* time, give or take one; None where that is not known.

    *allowed* is how much may come once, such as the threads of a pool, which start when they are first needed.
    """
    if first is None or last is None or last[0] <= first[0]:
        return None
    hours = (last[0] - first[0]) / HOUR
    more = last[1][name] - first[1][name]
    return Slope((more - min(allowed, max(more, 0.0))) / hours, 1 / hours, last[1][name], 2)
