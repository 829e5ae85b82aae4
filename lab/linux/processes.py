"""Processes by their id and start time, so that a number that was given away again is never taken for the old one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vminterface.channel.interruptions import start


def start_time(pid: int) -> int | None:
    """Return when *pid* started, in clock ticks since the boot; None if there is no such process (or a dead one)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def kill(pid: int, started: int | None) -> None:
    """Kill *pid* if it is still the process that began at *started*."""
    if started is not None and start_time(pid) == started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class started:
    """Start *command* as a group of its own; whatever ends the block by an exception, Ctrl-C too, kills that group."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self._command, self._options = command, options

    def __enter__(self) -> subprocess.Popen[Any]:
        self._process, held = start(self._command, start_new_session=True, **self._options)
        try:
            held.release()
        except BaseException:
            kill_group(self._process)
            raise
        return self._process

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None:
            kill_group(self._process)


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill what :func:`started` has started, with all that it has started itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def inside(init: int) -> list[int]:
    """Return the processes of the process namespace whose first process is *init*, that one last."""
    own = _namespace(init)
    found = [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != init]
    return [pid for pid in found if own is not None and _namespace(pid) == own] + [init]


def descendants(pid: int) -> list[int]:
    """Return *pid*'s children, their children and so on, and *pid* itself last."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        text = ""
    return [each for child in text.split() for each in descendants(int(child))] + [pid]


def _namespace(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return None
