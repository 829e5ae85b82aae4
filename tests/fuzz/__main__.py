"""``python -m tests.fuzz check|fuzz|coverage|keep|list``: see README.md in this folder."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "_utils"))

from tests.fuzz import bounds, engine, inputs, replay
from tests.fuzz.target import Target

#: Seconds and executions of one target in a check.
_SHORT, _FEW = 1, 4000


def main(words: list[str]) -> int:
    """Run one command; return 0 if nothing was found, 1 for a fault, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("command", choices=("check", "fuzz", "coverage", "keep", "list"))
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="these alone; wire. stands for all that begin so")
    parser.add_argument("--seconds", type=int, default=60, help="fuzz: for each target; check: for all of them")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="targets at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the engine's choices; 0: any")
    options = parser.parse_intermixed_args(words)
    bounds.watch_time()
    begun = time.monotonic()
    is_guided = options.command in ("check", "fuzz") and engine.atheris() is not None
    if options.command == "check":
        # In a process of its own: what is measured must not be instrumented.
        process = os.fork()
        if not process:
            sys.exit(_coverage(options.targets, each=False))
        if status := os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]):
            return status
    if options.command == "coverage":
        return _coverage(options.targets)
    targets = _targets(options.targets, guided=is_guided)
    if not targets:
        print(f"no target is called {' or '.join(options.targets)}", file=sys.stderr)
        return 2
    if options.command == "list":
        for target in targets.values():
            print(f"{target.name:<28} {len(target.seeds):>3} seeds {len(inputs.files_of(target)):>4} files")
        return 0
    if options.command == "keep":
        return _keep(targets)
    if not is_guided:
        version = ".".join(map(str, sys.version_info[:2]))
        print(f"there is no atheris for this Python {version}: the kept inputs were run as ordinary ones, nothing more")
        return 0 if options.command == "check" else _replayed(targets)
    seed = options.seed or random.randrange(1, 1 << 31)
    if options.command == "fuzz":
        outcomes = engine.fuzz(_shuffled(targets, seed), options.seconds, options.jobs, seed)
    else:
        # On a busy machine the kept inputs alone may take the time; some are fuzzed nevertheless.
        until = max(begun + options.seconds, time.monotonic() + options.seconds / 3)
        outcomes = engine.fuzz(_shuffled(targets, seed), _SHORT, options.jobs, seed, runs=_FEW, until=until)
    print(f"guided fuzzing, seed {seed}", flush=True)
    return _reported(outcomes, len(targets), each=options.command == "fuzz")


def _targets(names: list[str], *, guided: bool = False) -> dict[str, Target]:
    """Return the targets that *names* mean; *guided*: with the library instrumented."""
    if guided:
        # It tells of each module, on stderr.
        with (
            contextlib.redirect_stderr(io.StringIO()),
            engine.atheris().instrument_imports(include=["vminterface", "lab"]),
        ):
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    if not names:
        return TARGETS
    return {
        name: target
        for name, target in TARGETS.items()
        if any(name == one or (one.endswith(".") and name.startswith(one)) for one in names)
    }


def _replayed(targets: Mapping[str, Target]) -> int:
    count, failures = replay.run(targets.values())
    replay.report(failures)
    print(f"{count} inputs of {len(targets)} targets: {len(failures)} failed")
    return 1 if failures else 0


def _coverage(names: list[str], *, each: bool = True) -> int:
    """Run all kept inputs of the targets *names*; print what they reach of the library: those of all, enough of it."""
    count, failures, percentage = replay.measured(lambda: _targets(names), each=each)
    replay.report(failures)
    print(f"{count} inputs: {len(failures)} failed")
    if not names and percentage < replay.LEAST:
        print(
            f"the corpus takes {percentage:.1f} % of the branches (expected at least {replay.LEAST:g} %)",
            file=sys.stderr,
        )
        return 1
    return 1 if failures else 0


def _shuffled(targets: Mapping[str, Target], seed: int) -> list[Target]:
    """Return the targets in another order for each *seed*: a check may not come to all of them."""
    found = list(targets.values())
    random.Random(seed).shuffle(found)
    return found


def _reported(outcomes: Iterable[engine.Outcome], known: int, *, each: bool) -> int:
    """Print what came of fuzzing, of *known* targets; *each*: also of those without a fault."""
    count = executions = faults = 0
    for outcome in outcomes:
        count, executions = count + 1, executions + outcome.executions
        if outcome.report:
            faults += 1
            place = f"kept as {os.path.relpath(outcome.found)}" if outcome.found else "no input was kept"
            print(f"{outcome.target.name}: a fault, {place}\n{outcome.report}\n", file=sys.stderr, flush=True)
        elif each:
            print(f"{outcome.target.name}: {outcome.executions} executions", flush=True)
    print(f"{count} of {known} targets were fuzzed: {executions} executions, {faults} faults")
    return 1 if faults else 0


def _keep(targets: Mapping[str, Target]) -> int:
    """Put into the corpus what fuzzing has found below ``.fuzz/`` and is worth it, and take out what no longer is."""
    for target in targets.values():
        files = inputs.files_of(target)
        kept = [file for file in files if file.name.startswith(inputs.FOUND)]
        folder = engine.WORK / target.name / "new"
        new = [file.read_bytes() for file in folder.iterdir()] if folder.is_dir() else []
        new += [file.read_bytes() for file in files if file not in kept]
        chosen = {inputs.keep(target, data) for data in replay.chosen(target, new)}
        for file in {*files} - chosen - {*kept}:
            file.unlink()
        print(f"{target.name}: {len(chosen)} of {len({*new})} inputs, and {len(kept)} that found faults", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
