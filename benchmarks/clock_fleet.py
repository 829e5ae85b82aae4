"""The clocks of 50 VMs, 8 in flight, against single ones: how much of the parallel time is ours?

A stand-in for the calling program answers after a fixed time, as a VM would. With 8 at a time, 50 VMs cannot take less
than 50/8 single ones (7 rounds in whole VMs); printed is the measured multiple of 50/8, to be 1.2 at most. Each VM's
clock is wrong, so that it is read, set, and read again. Rounds of both kinds are interleaved in one run and the medians
compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.rows import Row, report
from vminterface.channel.qrexec.client import PARALLEL, Qrexec
from vminterface.dom0.services import clocksync

VMS = [f"vm{i}" for i in range(50)]
TARGET = 1.2

# What a VM says is an hour behind until it has been told, then what it was told.
PROGRAM = """#!/bin/sh
vm=$2
sleep {sleep}
case "$3" in
*qubes.GetDate*) if [ -e {folder}/$vm ]; then cat {folder}/$vm; else date -u -Iseconds -d '1 hour ago'; fi ;;
*qubes.SetDateTime*) cat > {folder}/$vm ;;
esac
"""


def seconds(qrexec: Qrexec, told: Path, vms: Sequence[str]) -> float:
    """Return how long it takes to set the clocks of *vms*; each has to be wrong, and to be set."""
    for file in told.iterdir():
        file.unlink()
    started = time.perf_counter()
    found = clocksync.set_all(qrexec, clocksync.host_time(), vms)
    taken = time.perf_counter() - started
    if failed := [one for one in found if one.error is not None or not one.set]:
        raise SystemExit(f"{failed[0].vm}: {failed[0].error or 'was not set'}")
    return taken


def main() -> int:
    """Measure, print the ratio, and return 0 if it is within the target, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sleep", type=float, default=0.3, help="seconds that one service takes")
    options = parser.parse_args()
    single, many = [], []
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told"
        told.mkdir()
        program = Path(folder) / "qrexec-client"
        program.write_text(PROGRAM.format(sleep=options.sleep, folder=told))
        program.chmod(0o755)
        qrexec = Qrexec(str(program))
        for _ in range(options.rounds):
            single += [seconds(qrexec, told, VMS[:1]) for _ in range(3)]
            many.append(seconds(qrexec, told, VMS))
    one, all_ = statistics.median(single), statistics.median(many)
    ratio = all_ / (len(VMS) / PARALLEL * one)
    print(f"one clock {one * 1000:.1f} ms; {len(VMS)} clocks, {PARALLEL} in flight: {all_ * 1000:.1f} ms")
    return report([Row(f"clocks of {len(VMS)} VMs / {len(VMS)}/{PARALLEL} single ones", ratio, TARGET)])


if __name__ == "__main__":
    sys.exit(main())
