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
from pathlib import Path

#: What a mutant may take beyond this process's memory; one that fills a list without end is stopped there.
MEMORY = 3 << 30
#: Seconds between two looks at whether a mutant works or sleeps.
LOOK = 1.0


class Outcome(IntEnum):
    """How a mutant ended, as the status of its process."""

    SURVIVED = 0
    KILLED = 1
    #: It cannot be put into the running process; the file has to be imported in its changed form.
    NEEDS_IMPORT = 10


def run(work: Callable[[], Outcome], seconds: float, asleep: float) -> Outcome:
    """Return how *work* ends in a process of its own, which gets *seconds* of processor time; over that is killed.

    So is what sleeps for *asleep* seconds in all. No clock runs while it works or waits for a processor: what else
    the machine does kills no mutant.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _in_child(work, seconds)
    try:
        return _outcome(pid, asleep)
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


def _outcome(pid: int, asleep: float) -> Outcome:
    descriptor = os.pidfd_open(pid)
    try:
        begin, busy, slept = time.monotonic(), 0.0, 0.0
        while not select.select([descriptor], [], [], LOOK)[0]:
            now, work = time.monotonic(), _busy(pid)
            slept += max(0.0, now - begin - max(0.0, work - busy))
            begin, busy = now, work
            if slept > asleep:
                os.kill(pid, signal.SIGKILL)
                break
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(descriptor)
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code) if code in tuple(Outcome) else Outcome.KILLED


def _busy(pid: int) -> float:
    """Return for how many seconds a process and those below it have run or waited for a processor."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            below.setdefault(int(stat.read_text("latin-1").rpartition(")")[2].split()[1]), []).append(
                int(stat.parent.name)
            )
    total, left = 0, [pid]
    while left:
        one = left.pop()
        left += below.get(one, [])
        for tasks in Path(f"/proc/{one}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += sum(map(int, tasks.read_text("ascii").split()[:2]))
    return total / 1e9
