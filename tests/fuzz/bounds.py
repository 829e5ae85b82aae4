"""The bounds of time and memory that every input has, in whatever way it is run."""

from __future__ import annotations

import resource
import signal
import time
from types import FrameType
from typing import NoReturn

from tests.fuzz.target import Target

#: Seconds of processor time for one input: inputs are small, and the slowest takes a tenth of this when instrumented.
SECONDS = 4.0
#: Bytes that a process may have beyond those that it has when it begins.
MEMORY = 512 << 20


class TooSlow(BaseException):
    """An input has used up its time. No Exception, as nothing may catch it on the way."""


def limit_memory() -> None:
    """Let this process get no more than MEMORY from now on; what wants more gets a MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))


def run(target: Target, data: bytes) -> bool:
    """Give *data* to *target* within the bound of time; return whether it was taken. Raises TooSlow, and as it does."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    before = time.process_time()
    try:
        return target.run(data)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        # What runs in C hears no signal until it is done.
        if time.process_time() - before > SECONDS:
            raise TooSlow(f"it took more than {SECONDS:g} s of processor time")


def _too_slow(number: int, frame: FrameType | None) -> NoReturn:
    raise TooSlow(f"it took more than {SECONDS:g} s of processor time")


def watch_time() -> None:
    """Let :func:`run` end what takes too long, in this process."""
    signal.signal(signal.SIGPROF, _too_slow)
