"""Runs the kept inputs as ordinary ones, measures which branches they take, and chooses those that are to be kept."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.fuzz import bounds, inputs
from tests.fuzz.target import Target

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "_utils/vminterface"
#: What the corpus has to reach, and the least part of its branches in percent.
MEASURED, LEAST = ("values", "wire"), 95.0
_FRAMES = 4


def run(targets: Iterable[Target], corpus: Path = inputs.CORPUS) -> tuple[int, list[str]]:
    """Run every kept input of *targets*; return how many there are, and what each that failed did."""
    count, failures = 0, []
    for target in targets:
        for name, data in inputs.of(target, corpus):
            count += 1
            if failure := failure_of(target, data):
                failures.append(f"{name}: {failure}")
    return count, failures


def failure_of(target: Target, data: bytes) -> str:
    """Return what *data* does that it must not, in a few lines; empty if nothing."""
    try:
        bounds.run(target, data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
        places = "".join(f"\n    {os.path.relpath(one.filename, ROOT)}:{one.lineno} {one.line}" for one in frames)
        return f"{type(error).__name__}: {str(error)[:300]}{places}\n    input: {data[:200]!r}"
    return ""


def measured(load: Callable[[], Mapping[str, Target]], *, each: bool = True) -> tuple[int, list[str], float]:
    """Run all inputs of the targets that *load* imports, and print how much of the library they reach.

    Returns the number of inputs, what those that failed did, and the percentage of branches. What modules do when they
    are imported counts, so nothing that is measured may have been imported before.
    """
    import coverage

    measuring = coverage.Coverage(
        branch=True, data_file=None, include=[f"{LIBRARY / part}/*" for part in MEASURED], config_file=False
    )
    measuring.start()
    try:
        count, failures = run(load().values())
    finally:
        measuring.stop()
    return count, failures, _print_branches(measuring, each=each)


def _print_branches(measuring: Any, *, each: bool) -> float:
    """Print how many branches were taken, and *each* file of which one was not; return the percentage."""
    taken = known = 0
    for file in sorted(file for part in MEASURED for file in (LIBRARY / part).glob("*.py")):
        analysis = measuring._analyze(str(file))
        numbers = analysis.numbers
        taken, known = taken + numbers.n_executed_branches, known + numbers.n_branches
        if each and numbers.n_executed_branches < numbers.n_branches:
            share = f"{numbers.n_executed_branches} of {numbers.n_branches}"
            lines = ", ".join(map(str, sorted(analysis.missing_branch_arcs())))
            print(f"  {file.relative_to(LIBRARY)!s:<36} {share:>12} branches, not all behind {lines}")
    percentage = 100.0 * taken / max(1, known)
    print(f"{taken} of {known} branches of {' and '.join(MEASURED)} are taken, {percentage:.1f} %")
    return percentage


def chosen(target: Target, candidates: Iterable[bytes]) -> list[bytes]:
    """Return those of *candidates* that reach a branch of the library which the seeds and no smaller ones reach."""
    import coverage

    measuring = coverage.Coverage(branch=True, data_file=None, include=[f"{LIBRARY}/*"], config_file=False)
    # Not every input gets as far as the library.
    measuring.set_option("run:disable_warnings", ["no-data-collected"])
    reached: set[tuple[str, tuple[int, int]]] = set()
    for seed in target.seeds:
        reached |= _arcs(measuring, target, seed)
    kept = []
    for data in sorted({*candidates}, key=lambda one: (len(one), one)):
        if new := _arcs(measuring, target, data) - reached:
            reached |= new
            kept.append(data)
    return kept


def _arcs(measuring: Any, target: Target, data: bytes) -> set[tuple[str, tuple[int, int]]]:
    measuring.erase()
    measuring.start()
    try:
        failure_of(target, data)
    finally:
        measuring.stop()
    found = measuring.get_data()
    return {(file, arc) for file in found.measured_files() for arc in found.arcs(file) or ()}


def report(failures: list[str]) -> None:
    """Print *failures*."""
    for failure in failures:
        print(failure, file=sys.stderr)
