"""One mutant in one process: started, bounded, awaited, and cleaned up after."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from enum import IntEnum

#: What a mutant may take beyond this process's memory; one that fills a list without end is stopped there.
MEMORY = 3 << 30
#: Seconds of waiting for each second of processor time that a mutant may take: others work beside it.
PATIENCE = 10


class Outcome(IntEnum):
    """How a mutant ended, as the status of its process."""

    SURVIVED = 0
    KILLED = 1
    #: It cannot be put into the running process; the file has to be imported in its changed form.
    NEEDS_IMPORT = 10


def run(work: Callable[[], Outcome], seconds: float) -> Outcome:
    """Return how *work* ends in a process of its own, which gets *seconds* of processor time; over that is killed."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _in_child(work, seconds)
    try:
        return _outcome(pid, seconds * PATIENCE)
    finally:
        # What it has started and left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _in_child(work: Callable[[], Outcome], seconds: float) -> None:
    status = int(Outcome.KILLED)
    try:
        os.setpgrp()
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        limit = int(time.process_time() + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        with open("/proc/self/statm", encoding="ascii") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        status = int(work())
    except BaseException:
        # Whatever a mutant breaks, it is noticed.
        status = int(Outcome.KILLED)
    finally:
        os._exit(status)


def _outcome(pid: int, seconds: float) -> Outcome:
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code) if code in tuple(Outcome) else Outcome.KILLED
