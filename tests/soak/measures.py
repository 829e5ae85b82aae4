"""What a process takes, by proc(5): memory of its own (KiB), descriptors, threads. Sampled over its life."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from lab.linux.processes import start_time
from tests.soak.slope import Point

MEMORY, DESCRIPTORS, THREADS = "memory KiB", "descriptors", "threads"

#: A process: its id and start time, so that an id that was given away again is another one.
Process = tuple[int, int]


def identify(pid: int) -> Process | None:
    """Return the process that has *pid* now, None if there is none."""
    started = start_time(pid)
    return None if started is None else (pid, started)


def measure(process: Process) -> dict[str, float] | None:
    """Return what *process* takes now by measure; None where it has ended."""
    pid, _ = process
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        found: dict[str, float] = {
            MEMORY: _number("RssAnon", status),
            DESCRIPTORS: len(os.listdir(f"/proc/{pid}/fd")),
            THREADS: _number("Threads", status),
        }
    except OSError:
        return None
    return found if identify(pid) == process else None


def _number(name: str, status: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


def children(pid: int) -> list[int]:
    """Return the processes that *pid* is the parent of."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


class Samples:
    """The points of many processes, by kind of process."""

    def __init__(self) -> None:
        self._found: dict[str, dict[Process, dict[str, list[Point]]]] = {}

    def take(self, now: float, processes: Iterable[tuple[str, int]]) -> None:
        """Measure *processes*, each a kind and an id; *now* is when that is (monotonic)."""
        for kind, pid in processes:
            process = identify(pid)
            values = None if process is None else measure(process)
            if process is None or values is None:
                continue
            points = self._found.setdefault(kind, {}).setdefault(process, {})
            for name, value in values.items():
                points.setdefault(name, []).append((now, value))

    def kinds(self, since: float = 0.0) -> dict[str, list[dict[str, list[Point]]]]:
        """Return the points by measure of each process, by kind; those of before *since* are left out."""
        return {
            kind: [
                {name: [point for point in points if point[0] >= since] for name, points in measures.items()}
                for measures in processes.values()
            ]
            for kind, processes in self._found.items()
        }
