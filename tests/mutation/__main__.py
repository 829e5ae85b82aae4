"""Try every mutant of the modules that are named, by default of all parts, and print how many the tests kill.

    python -m tests.mutation [--again] [--all | --unit] [--sample N] [values/port.py | wire ...]

A module's mutants are for the tests of that module, which mirror the tree, or with ``--all`` for all tests of its part.
With ``--unit`` only those run that need no daemon, which takes minutes less; the others can follow with ``--again``.
With ``--again`` only those are tried that survived the last run, with ``--sample N`` only N of each module, drawn at
random but the same ones each time. Ends with 1 where fewer than 85 in 100 are killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tests.mutation import report, scope, session
from tests.mutation.child import Outcome
from tests.mutation.equivalents import equivalents
from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.report import Figures, Results


def main(arguments: list[str]) -> int:
    """Run the command line *arguments*."""
    parser = argparse.ArgumentParser(prog="tests.mutation", description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("modules", nargs="*", help="values/port.py, wire, ...")
    parser.add_argument("--again", action="store_true", help="only what survived the last run")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="all tests of the part, not only a module's own")
    which.add_argument("--unit", action="store_true", help="only those tests of a module that need no daemon")
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants of each module, drawn at random")
    options = parser.parse_args(arguments)
    try:
        names = scope.modules(options.modules)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    run = Run(options.again, options.all, options.sample, scope.KINDS[:1] if options.unit else scope.KINDS)
    status = 0
    for part in scope.PARTS:
        figures = run.try_part(part, [name for name in names if scope.part_of(name) == part])
        if figures:
            summary = report.total(part, figures)
            print(f"{summary}\nsurvivors: {report.FOLDER / part}", flush=True)
            status |= int(summary.percent < report.ENOUGH)
    return status


class Run:
    """One run of the command: what it has found so far, by module."""

    def __init__(self, again: bool, every: bool, sample: int | None, kinds: tuple[str, ...]) -> None:
        """*again*: only former survivors; *every*: by all tests of a part, not by a module's own, of *kinds*, alone.

        *sample* is how many mutants of a module are tried, None for all.
        """
        self._again = again
        self._every = every
        self._sample = sample
        self._kinds = kinds
        self._equivalent = {one.key for one in equivalents()}
        self._results: dict[str, Results] = {}
        self._begin = time.monotonic()

    def try_part(self, part: str, names: list[str]) -> list[Figures]:
        """Try the mutants of some modules of *part*; return the figures of each."""
        wanted = {name: mutants for name in names if (mutants := self._wanted(name))}
        own = {name: [] if self._every else scope.mirrored(name, self._kinds) for name in wanted}
        tests = scope.tests_of(part) if not all(own.values()) else [path for paths in own.values() for path in paths]
        importing: list[tuple[str, Mutant, list[str]]] = []
        whole = set()
        try:
            for name, number, outcome, by in _in_session(wanted, own, tests) if wanted else ():
                mutant = wanted[name][number]
                if outcome is Outcome.NEEDS_IMPORT:
                    importing.append((name, mutant, by))
                else:
                    self._results[name].add(mutant, outcome is Outcome.KILLED, len(by))
                if number == len(wanted[name]) - 1:
                    whole.add(name)
                    left = sum(module == name for module, _, _ in importing)
                    self._save(name, f"{left} more to be imported" if left else "")
        finally:
            # Who is told to end keeps what has been found.
            for name, mutants in wanted.items():
                tried = sum(module == name for module, _, _ in importing) + self._results[name].total
                if name not in whole and tried:
                    self._save(name, f"stopped at mutant {tried} of {len(mutants)}")
        counts = {id(mutant): len(by) for _, mutant, by in importing}

        def found(name: str, mutant: Mutant, outcome: Outcome) -> None:
            self._results[name].add(mutant, outcome is Outcome.KILLED, counts.pop(id(mutant)))
            if not any(module == name and id(other) in counts for module, other, _ in importing):
                self._save(name)

        if importing:
            session.pytest_with(session.Importing(importing, found), scope.ROOT / "tests")
        return [self._results[name].figures(self._equivalent) for name in names]

    def _wanted(self, name: str) -> list[Mutant]:
        """Return the mutants of a module that are to be tried; the others are known to be killed."""
        mutants = mutants_of((scope.LIBRARY / name).read_text(encoding="utf-8"))
        if self._sample is not None and self._sample < len(mutants):
            # In the order of the lines, by a seed of the module's own: other modules and runs do not change it.
            chosen = random.Random(name).sample(range(len(mutants)), self._sample)
            mutants = [mutants[number] for number in sorted(chosen)]
        self._results[name] = results = Results(name)
        before = report.load(name) if self._again else None
        if before is None:
            return mutants
        killed = set(before.killed) - {key for key, _, _ in before.survived}
        left = []
        for mutant in mutants:
            if (name, mutant.removed, mutant.added) in killed:
                results.add(mutant, killed=True, tests=0)
            else:
                left.append(mutant)
        return left

    def _save(self, name: str, more: str = "") -> None:
        self._results[name].save(self._equivalent)
        print(
            f"{time.monotonic() - self._begin:6.0f} s {self._results[name].figures(self._equivalent)} {more}",
            flush=True,
        )


def _in_session(
    wanted: dict[str, list[Mutant]], own: dict[str, list[Path]], tests: list[Path]
) -> Iterator[tuple[str, int, Outcome, list[str]]]:
    """Try the mutants in one process that has run all *tests* already; yield module, number, outcome and tests of each.

    *own* are the files of tests for each module, none for all of them.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 1
        try:
            with open(writer, "w", encoding="utf-8") as file:
                status = _session(wanted, own, tests, file)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        for line in file:
            name, number, outcome, by = json.loads(line)
            yield name, number, Outcome(outcome), by
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("the tests do not run as they are")


def _session(wanted: dict[str, list[Mutant]], own: dict[str, list[Path]], tests: list[Path], file: TextIO) -> int:
    numbers = {(name, id(mutant)): number for name in wanted for number, mutant in enumerate(wanted[name])}

    def found(name: str, mutant: Mutant, outcome: Outcome, by: list[str]) -> None:
        print(json.dumps([name, numbers[name, id(mutant)], int(outcome), by]), file=file, flush=True)

    return session.pytest_with(session.Session(wanted, own, found), *tests)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
