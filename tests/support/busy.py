"""What keeps the machine busy: what a test that has run out of time leaves to whoever reads its report."""

from __future__ import annotations

import os
import time

import psutil  # pytest-salt-factories needs it

SAMPLE = 0.5
"""Seconds over which the processes are watched."""


def busiest(count: int = 8) -> str:
    """Return the load averages, the free memory and the *count* processes that are busiest just now, a line each."""
    watched = {process: _seconds(process) for process in psutil.process_iter()}
    time.sleep(SAMPLE)
    used = {process: _seconds(process) - before for process, before in watched.items()}
    lines = [
        f"load {' '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} CPUs,"
        f" {psutil.virtual_memory().available >> 20} MiB available"
    ]
    for process in sorted(used, key=lambda process: -used[process])[:count]:
        if used[process] > 0:
            lines.append(f"{100 * used[process] / SAMPLE:4.0f} % of a CPU: {process.pid} {_command(process)[:160]}")
    return "\n".join(lines)


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # it has ended
        return 0.0
    return float(times.user + times.system)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return "(has ended)"
