"""The command ``python -m tests.simulation``: runs seeds, and tells the story of those that fail.

``--seeds FIRST:END`` runs those; ``--first`` ends with the first that fails; ``--seed N`` tells the story of one,
``--shrunk`` that of the smallest scenario that fails like it. Exit status 1 where one fails.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator

from tests.simulation.known import KNOWN
from tests.simulation.run import run
from tests.simulation.scenario import Scenario
from tests.simulation.shrink import shrink
from tests.simulation.story import tell

#: Seeds that a process runs before it reports.
PORTION = 50


def failing(seeds: range) -> list[tuple[int, tuple[str, ...]]]:
    """Return those of *seeds* that fail and are not known to, each with what is wrong."""
    found = []
    for seed in seeds:
        if (violations := run(Scenario.of(seed)).violations) and seed not in KNOWN:
            found.append((seed, violations))
    return found


def search(first: int, end: int, jobs: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Run the seeds, several at a time; yield how many have been run, and after each that fails also which and why.

    The number of the seed is -1 in a report of progress.
    """
    portions = [range(at, min(at + PORTION, end)) for at in range(first, end, PORTION)]
    done = 0
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for portion, found in zip(portions, pool.imap(failing, portions), strict=True):
            done += len(portion)
            for seed, violations in found:
                yield done, seed, violations
            yield done, -1, ()


def main(arguments: list[str]) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="0:10000", help="FIRST:END, the end not included")
    parser.add_argument("--seed", type=int, help="tell the story of this one")
    parser.add_argument("--shrunk", action="store_true", help="leave out what does not matter for its failure")
    parser.add_argument("--first", action="store_true", help="end with the first seed that fails")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.seed is not None:
        result = run(Scenario.of(options.seed))
        print(tell(shrink(result) if options.shrunk and result.violations else result))
        return 1 if result.violations else 0
    first, end = map(int, options.seeds.split(":"))
    began, told, count = time.monotonic(), time.monotonic(), 0
    for done, seed, violations in search(first, end, options.jobs):
        if seed >= 0:
            count += 1
            print(f"seed {seed} fails:\n  " + "\n  ".join(violations), flush=True)
            if options.first:
                break
        elif time.monotonic() - told > 30:
            told = time.monotonic()
            print(f"{done} of {end - first} seeds run, {count} have failed", flush=True)
    print(f"{done} seeds run in {time.monotonic() - began:.0f} s, {count} have failed", flush=True)
    if count:
        print("the story of one: python -m tests.simulation --seed N --shrunk")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
