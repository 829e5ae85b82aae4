"""What work leaves behind for Python's collector: objects that refer to themselves or to each other."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable

#: How often work is done that has left something.
TIMES = 3


def left_behind(work: Callable[[], object]) -> Counter[str]:
    """Return, by class, what *work* leaves for the collector: objects of the library, and classes made by a call.

    It is done once before, and again where it has left something: what it keeps of one time for the next, what a module
    leaves that is imported, and what another test of this process had, is left once. What counts is left each time.
    """
    work()
    found: Counter[str] = Counter()
    for _ in range(TIMES):
        found = _left_once(work)
        if not found:
            break
    return found


def _left_once(work: Callable[[], object]) -> Counter[str]:
    gc.collect()
    try:
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        work()
        gc.collect()
        return Counter(
            f"class {one.__qualname__}" if isinstance(one, type) else type(one).__name__
            for one in gc.garbage
            if (one if isinstance(one, type) else type(one)).__module__.startswith("vminterface")
            and not (isinstance(one, type) and "<locals>" not in one.__qualname__)
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
