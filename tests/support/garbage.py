"""What work leaves behind for Python's collector: objects that refer to themselves or to each other."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable


def left_behind(work: Callable[[], object]) -> Counter[str]:
    """Return, by class, what *work* leaves for the collector: objects of the library, and classes made by a call.

    It is done twice, as what it keeps of the first time for the next is none of that. A module that is imported
    meanwhile leaves classes too, those that a decorator has replaced, and never again.
    """
    work()
    gc.collect()
    try:
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        work()
        gc.collect()
        return Counter(
            type(one).__name__
            for one in gc.garbage
            if (one if isinstance(one, type) else type(one)).__module__.startswith("vminterface")
            and not (isinstance(one, type) and "<locals>" not in one.__qualname__)
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
