"""How long a caller waits for a short service: SetDateTime's program from start to end, beside ``python3 -c pass``.

    PYTHONPATH=_utils:. python benchmarks/handler_start.py [--rounds 40]

The two take turns; the medians are compared. Exit status 1 if the target is missed. No clock is set: the program
answers for a machine in a temporary folder, whose clock is right.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import vminterface
from benchmarks.rows import Row, report
from vminterface.values import clock
from vminterface.vm.handlers.runtime.entry import entry

#: So many starts of an interpreter that has nothing to do.
TARGET = 1.5


def main() -> int:
    parser = argparse.ArgumentParser(description="Start of a Qubes RPC handler beside the start of Python.")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    library = str(Path(vminterface.__file__).parents[1])
    environment = {"PATH": os.environ.get("PATH", ""), "QREXEC_REMOTE_DOMAIN": "dom0"}
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "qubes.SetDateTime")
        program.write_text(entry("qubes.SetDateTime", library, sys.executable, folder))
        program.chmod(0o755)
        commands = {"python3 -c pass": [sys.executable, "-c", "pass"], "qubes.SetDateTime": [str(program)]}
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.rounds + 1):
            for name, command in commands.items():
                line = clock.render(datetime.now(UTC)).encode()
                started = time.perf_counter()
                subprocess.run(command, input=line, env=environment, check=True)
                # The first round fills caches, Python's own of compiled files among them.
                if number:
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, each in medians.items():
        print(f"  {name:20} {1000 * each:6.1f} ms")
    ratio = statistics.median(
        ours / theirs for ours, theirs in zip(seconds["qubes.SetDateTime"], seconds["python3 -c pass"], strict=True)
    )
    return report([Row("a handler's start (qubes.SetDateTime) / python3 -c pass", ratio, TARGET)])


if __name__ == "__main__":
    sys.exit(main())
