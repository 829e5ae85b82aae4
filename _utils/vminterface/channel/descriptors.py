"""How many connections this process may still open: its limit of open files is one for all that it does."""

from __future__ import annotations

import os
import resource

#: Descriptors that are left for everything else: files, programs, other threads.
RESERVE = 24


def room() -> int:
    """Return how many descriptors may be opened, with some left for the rest; at least 1."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        return 1
    return max(1, limit - used - RESERVE)
