"""``python -m tests.soak``: see docs/explanation/reliability.md. Exit status 0 where all is good, 1 where not."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.soak.run import Plan, soak
from tests.support.seeds import SEED
from vminterface.errors import VMInterfaceError

#: Minutes at most, for all releases together.
LONGEST = 60.0
RELEASES = ("R2", "R4")


def main(arguments: list[str] | None = None) -> int:
    """Soak on each release in turn, print what came of it, and return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=LONGEST, help=f"for all releases together (at most {LONGEST:g})"
    )
    parser.add_argument("--vms", type=int, default=50, help="VMs of each lab (default: 50)")
    parser.add_argument("--release", choices=RELEASES, action="append", help="one of them only (default: both)")
    parser.add_argument(
        "--pause", type=float, default=2.0, help="seconds between two things one actor does, on average"
    )
    parser.add_argument("--samples", type=Path, metavar="FOLDER", help="write what was measured there, as JSON")
    options = parser.parse_args(arguments)
    if not 0 < options.minutes <= LONGEST or options.vms < 1:
        parser.error(f"expected more than 0 and at most {LONGEST:g} minutes, and at least one VM")
    releases = options.release or RELEASES
    seconds = options.minutes * 60 / len(releases)
    good = True
    for release in releases:
        plan = Plan(release, SEED, vms=options.vms, seconds=seconds, pause=options.pause)
        print(f"soak on {release}: SEED={SEED}, {seconds:.0f} s", flush=True)
        try:
            result, samples = soak(plan, lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True))
        except VMInterfaceError as error:
            print(f"tests.soak: {error}", file=sys.stderr)
            return 1
        print(result.text(), flush=True)
        if options.samples:
            (options.samples / f"{release}.json").write_text(json.dumps(samples.kinds()))
        good &= result.ok
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
