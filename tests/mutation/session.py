"""One run of pytest over a part's tests, which stays: what each test covers, then every mutant in a copy of it."""

from __future__ import annotations

import functools
import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from _pytest.runner import runtestprotocol
from coverage import Coverage
from hypothesis import HealthCheck, Phase, settings

from tests.mutation import child, scope, swap
from tests.mutation.child import Outcome
from tests.mutation.mutants import Mutant

#: Tests that take longer than so many seconds are left out: with them thousands of mutants are out of reach.
SLOW = 3.0
#: Of how many files of tests those are run that import a mutant, the module's own first.
MOST_FILES = 3
#: Processor seconds that these get.
IMPORTING = 20.0
#: Seconds that a mutant may sleep, beyond what its tests do: by then it waits for what never comes.
ASLEEP = 30.0


def settle_hypothesis() -> None:
    """Let hypothesis try the same examples each time, keep none of them, and leave a failing one as large as it is.

    How long an example takes to make fails no test: on a loaded machine that would kill a mutant.
    """
    settings.register_profile(
        "mutation",
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        max_examples=10,
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")


@dataclass
class Covered:
    """What the tests of a part do to one module."""

    #: By line, the tests that run it.
    tests: dict[int, set[str]] = field(default_factory=dict)
    #: The lines that run when files are imported.
    at_import: set[int] = field(default_factory=set)


class Session:
    """A plugin of pytest: instead of running the tests once, it tries all mutants that it is given."""

    def __init__(
        self,
        wanted: dict[str, list[Mutant]],
        own: dict[str, list[Path]],
        found: Callable[[str, Mutant, Outcome, list[str]], None],
    ) -> None:
        """*wanted* are mutants by module, *own* the files whose tests are for it, none where all tests are.

        *found* hears of each mutant how it ended, and which tests were there for it.
        """
        self._wanted = wanted
        self._own = own
        self._found = found
        self._items: dict[str, Any] = {}
        self._seconds: dict[str, float] = {}
        self._clock: dict[str, float] = {}
        self._caches: list[functools._lru_cache_wrapper[object]] = []
        self._coverage = Coverage(
            data_file=None, config_file=False, include=[str(scope.LIBRARY / module) for module in wanted]
        )

    def pytest_sessionstart(self) -> None:
        settle_hypothesis()
        self._coverage.start()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all tests once, then the mutants."""
        if session.testsfailed:
            raise session.Interrupted("a test file cannot be read")
        covered = self._run_all(session.items)
        # The tests' own configuration freezes what was there before the first test, and shows none of it.
        gc.unfreeze()
        gc.collect()
        self._caches = swap.caches()
        functions_of = {module: swap.functions_of(str(scope.LIBRARY / module)) for module in self._wanted}
        # From here on the collector shows none of these.
        gc.freeze()
        for module, mutants in self._wanted.items():
            functions = functions_of[module]
            self._leave_out_what_fails_in_a_copy(session, module, covered[module])
            for mutant in mutants:
                outcome, tests = self._try(module, mutant, covered[module], functions)
                self._found(module, mutant, outcome, tests)
        return True

    def _run_all(self, items: list[Any]) -> dict[str, Covered]:
        """Run the tests as they are; return what they cover, by module."""
        failed = slow = 0
        for item, following in zip(items, [*items[1:], None], strict=True):
            self._coverage.switch_context(item.nodeid)
            begin, start = time.process_time(), time.monotonic()
            reports = runtestprotocol(item, log=False, nextitem=following)
            took = time.process_time() - begin
            self._coverage.switch_context("")
            if any(report.failed for report in reports):
                failed += 1
                print(f"left out, as it fails without any mutant: {item.nodeid}", flush=True)
            elif took > SLOW:
                slow += 1
            elif not any(report.skipped for report in reports):
                self._items[item.nodeid] = item
                self._seconds[item.nodeid] = took
                self._clock[item.nodeid] = time.monotonic() - start
        self._coverage.stop()
        if slow or failed:
            print(f"{slow} tests are left out as too slow, {failed} as they fail", flush=True)
        data = self._coverage.get_data()
        covered = {}
        for module in self._wanted:
            lines = data.contexts_by_lineno(str(scope.LIBRARY / module))
            covered[module] = Covered(
                {line: {test for test in tests if test in self._items} for line, tests in lines.items()},
                {line for line, tests in lines.items() if "" in tests},
            )
        return covered

    def _leave_out_what_fails_in_a_copy(self, session: pytest.Session, module: str, covered: Covered) -> None:
        """Try the tests of *module* in a copy of this process without any mutant; leave out each that fails there.

        Such a test counts processes or descriptors, or had its only turn in the first run.
        """
        with tempfile.TemporaryFile("a+") as told:

            def tell() -> Outcome:
                for test in tests:
                    if run([self._items[test]]) is not Outcome.SURVIVED:
                        print(test, file=told, flush=True)
                return Outcome.SURVIVED

            tests = self._ordered(module, {test for some in covered.tests.values() for test in some})
            ended = self._in_copy(tests, tell)
            told.seek(0)
            failing = set(told.read().splitlines())
        if ended is not Outcome.SURVIVED or (failing and failing == set(tests)):
            raise session.Interrupted(f"{module}: its tests fail in a copy of this process, without any mutant")
        for test in sorted(failing):
            print(f"left out, as it fails in a copy of this process: {test}", flush=True)
            for some in covered.tests.values():
                some.discard(test)

    def _try(
        self, module: str, mutant: Mutant, covered: Covered, functions: dict[tuple[int, str], list[FunctionType]]
    ) -> tuple[Outcome, list[str]]:
        """Return how a mutant ends, and the tests for it, the module's own and the fast ones first."""
        lines = range(mutant.first, mutant.last + 1)
        tests = {test for line in lines for test in covered.tests.get(line, ())}
        at_import = any(line in covered.at_import for line in lines)
        imported = mutant.function is None or (at_import and not tests)
        if imported:
            # A table is read without any line of its file being run: all tests of the files with those that do.
            files = {_file(test) for some in covered.tests.values() for test in some} | set(
                map(_name, self._own[module])
            )
            tests = {test for test in self._items if _file(test) in files}
        ordered = self._ordered(module, tests)
        if imported:
            return Outcome.NEEDS_IMPORT, ordered
        if not ordered:
            return Outcome.SURVIVED, ordered

        outcome = self._run(ordered, lambda: swap.put_in(mutant, str(scope.LIBRARY / module), functions))
        if outcome is Outcome.SURVIVED and at_import:
            return Outcome.NEEDS_IMPORT, ordered
        return outcome, ordered

    def _run(self, tests: list[str], put_in: Callable[[], bool]) -> Outcome:
        """Return how *tests* end in a copy of this process, after *put_in* has changed what it is to change there."""
        items = [self._items[test] for test in tests]
        return self._in_copy(tests, lambda: run(items) if put_in() else Outcome.NEEDS_IMPORT)

    def _in_copy(self, tests: list[str], what: Callable[[], Outcome]) -> Outcome:
        """Return how *what* ends in a copy of this process, within the bounds of *tests*."""

        def work() -> Outcome:
            for cache in self._caches:
                cache.cache_clear()
            return what()

        seconds = 5 + 3 * sum(self._seconds[test] for test in tests)
        return child.run(work, seconds, ASLEEP + 3 * sum(self._clock[test] for test in tests))

    def _ordered(self, module: str, tests: set[str]) -> list[str]:
        files = set(map(_name, self._own[module]))
        if files:
            return sorted((test for test in tests if _file(test) in files), key=self._seconds.__getitem__)
        first = set(map(_name, scope.mirrored(module)))
        return sorted(tests, key=lambda test: (_file(test) not in first, self._seconds[test]))


def _file(test: str) -> str:
    """Return the file that a test's id begins with."""
    return test.split("::")[0]


def _name(path: Path) -> str:
    """Return a file as the ids of its tests begin."""
    return str(path.relative_to(scope.ROOT))


class Importing:
    """A plugin of pytest that imports each mutant in a copy of a process that knows nothing of the library yet."""

    def __init__(
        self, wanted: list[tuple[str, Mutant, list[str]]], found: Callable[[str, Mutant, Outcome], None]
    ) -> None:
        """*wanted* are modules, mutants of them, and the tests for these; *found* hears how each ended."""
        self._wanted = wanted
        self._found = found

    def pytest_sessionstart(self) -> None:
        settle_hypothesis()

    # In place of pytest's own, which would read all test files here, and with them the library.
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        gc.collect()
        gc.freeze()
        sound = set()
        for module, mutant, tests in self._wanted:
            if tests and module not in sound:
                sound.add(module)
                unchanged = replace(mutant, source=(scope.LIBRARY / module).read_text(encoding="utf-8"))
                if self._try(session, module, unchanged, tests) is not Outcome.SURVIVED:
                    raise session.Interrupted(f"{module}: its tests fail in a copy of this process, without any mutant")
            self._found(module, mutant, self._try(session, module, mutant, tests))
        return True

    def pytest_runtestloop(self) -> bool:
        """There is nothing left to run."""
        return True

    @staticmethod
    def _try(session: pytest.Session, module: str, mutant: Mutant, tests: list[str]) -> Outcome:
        def work() -> Outcome:
            path = str(scope.LIBRARY / module)
            swap.Importer(scope.import_name(module), path, mutant.source).install()
            files = _by_file(tests)[:MOST_FILES]
            chosen = {test for _, some in files for test in some}
            places = [file for file, _ in files]
            if "schema" in "".join(mutant.source.splitlines()[mutant.first - 1 : mutant.last]).lower():
                chosen.add(scope.SCHEMA_TEST)
                places.append(scope.SCHEMA_TEST)
            # All at once: a second collection would know none of the fixtures that the folders of the first one have.
            items = session.perform_collect([str(scope.ROOT / place) for place in places], genitems=True)
            return run([item for item in items if item.nodeid in chosen])

        return child.run(work, IMPORTING, ASLEEP) if tests else Outcome.SURVIVED


def run(items: Sequence[Any]) -> Outcome:
    """Run *items* up to the first that fails, in a copy of the process that pytest has started in."""
    for item in items[:1]:
        # The tests' own configuration ends a fork that reports; this one is meant to.
        item.config.own_pid = os.getpid()
    for item, following in zip(items, [*items[1:], None], strict=True):
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=following)):
            return Outcome.KILLED
    return Outcome.SURVIVED


def _by_file(tests: list[str]) -> list[tuple[str, set[str]]]:
    """Return *tests* by their file, in the order of the files' first tests."""
    files: dict[str, set[str]] = {}
    for test in tests:
        files.setdefault(_file(test), set()).add(test)
    return list(files.items())


def pytest_with(plugin: object, *tests: Path) -> int:
    """Run pytest with *plugin* on *tests*; return its status."""
    # Those of Salt start and end a server for each run of tests.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    needed = [word for name in ("pytest_timeout", "_hypothesis_pytestplugin") for word in ("-p", name)]
    useless = ("cacheprovider", "unraisableexception", "threadexception", "faulthandler", "junitxml")
    unneeded = [word for name in useless for word in ("-p", f"no:{name}")]
    quiet = ["--quiet", "--quiet", "--no-header", "--no-summary", "--assert=plain", "--rootdir", str(scope.ROOT)]
    # Random input takes seconds for each mutant. What takes too long is ended by its processor time, not by the clock.
    quiet += ["-m", "not fuzz", "--timeout", "0"]
    return int(pytest.main([*needed, *unneeded, *quiet, *map(str, tests)], plugins=[plugin]))
