"""50 service calls, 8 in flight, against single calls: how much of the parallel time is ours?

A stand-in for the calling program sleeps a fixed time. With 8 at a time, 50 calls cannot take less than 50/8 single
ones (7 rounds in whole calls); printed is the measured multiple of 50/8, to be 1.2 at most. Rounds of both kinds
are interleaved in one run and the medians compared, so that a busy machine weighs on both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.rows import Row, report
from vminterface.channel.qrexec.client import PARALLEL, Call, Qrexec, Reply
from vminterface.errors import VMInterfaceError

CALLS = 50
TARGET = 1.2


def seconds(work: Callable[[], Sequence[Reply | VMInterfaceError]]) -> float:
    """Return how long *work* takes; every one of its calls has to succeed."""
    started = time.perf_counter()
    outcomes = work()
    taken = time.perf_counter() - started
    failed = [outcome for outcome in outcomes if not isinstance(outcome, Reply)]
    if failed:
        raise failed[0]
    return taken


def main() -> int:
    """Measure, print the ratio, and return 0 if it is within the target, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sleep", type=float, default=0.4, help="seconds that one service takes")
    options = parser.parse_args()
    single, many = [], []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "qrexec-client"
        program.write_text(f"#!/bin/sh\nexec sleep {options.sleep}\n")
        program.chmod(0o755)
        qrexec = Qrexec(str(program), parallel=PARALLEL)
        for _ in range(options.rounds):
            single += [seconds(lambda: [qrexec.call(Call("work", "test.Sleep"))]) for _ in range(3)]
            many.append(seconds(lambda: qrexec.call_many(Call("work", "test.Sleep") for _ in range(CALLS))))
    one, all_ = statistics.median(single), statistics.median(many)
    ratio = all_ / (CALLS / PARALLEL * one)
    print(f"one call {one * 1000:.1f} ms; {CALLS} calls, {PARALLEL} in flight: {all_ * 1000:.1f} ms")
    return report([Row(f"{CALLS} service calls / {CALLS}/{PARALLEL} single ones", ratio, TARGET)])


if __name__ == "__main__":
    sys.exit(main())
