"""Guided fuzzing by atheris: each target in a process of its own, whose new inputs are kept below ``.fuzz/``."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import bounds, inputs
from tests.fuzz.target import TROUBLE, Target

WORK = Path(__file__).resolve().parents[2] / ".fuzz"
#: Seconds after which libFuzzer itself ends an input that no signal of Python's reaches.
_HANGS = 300
#: What the file of an input begins with that found a fault, how the process ends then, and what its log says.
_FAULT, _FAULTY, _MARK = "fault-", 77, "=== fault"
_EXECUTED = re.compile(r"^#(\d+)\s", re.MULTILINE)
_UNITS = re.compile(r"^stat::number_of_executed_units:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of fuzzing one target: executions, and the file and report of the input that found a fault."""

    target: Target
    executions: int
    found: Path | None = None
    report: str = ""


def atheris() -> Any:
    """Return the module; None where there is none for this Python."""
    try:
        import atheris as engine
    except ImportError:
        return None
    return engine


def fuzz(
    targets: Iterable[Target], seconds: int, jobs: int, seed: int, *, runs: int = -1, until: float | None = None
) -> Iterator[Outcome]:
    """Fuzz each of *targets* for *seconds* and *runs* at most, *jobs* at a time, and yield what came of it.

    None is begun any more after *until* (of the monotonic clock). Processes are forked, so that the library has been
    imported and instrumented once.
    """
    waiting, running = list(targets), dict[int, Target]()
    while waiting or running:
        while waiting and len(running) < jobs and (until is None or time.monotonic() + seconds <= until):
            target = waiting.pop(0)
            running[_fork(target, seconds, seed, runs)] = target
        if not running:
            return
        process, status = os.wait()
        if (ended := running.pop(process, None)) is not None:
            yield _outcome(ended, status)


def _fork(target: Target, seconds: int, seed: int, runs: int) -> int:
    folder = WORK / target.name
    for part in ("seeds", "new"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for data in target.seeds:
        (folder / "seeds" / inputs.name_of(data)).write_bytes(data)
    (folder / "words").write_text("".join(f'"{_escaped(word)}"\n' for word in (*TROUBLE, *target.words)))
    for old in folder.glob(f"{_FAULT}*"):
        old.unlink()
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    try:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _run(target, folder, seconds, seed, runs)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(99)


def _run(target: Target, folder: Path, seconds: int, seed: int, runs: int) -> None:
    """Become libFuzzer; does not return."""
    engine = atheris()
    bounds.watch_time()
    bounds.limit_memory()
    kept = inputs.CORPUS / target.name
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        try:
            bounds.run(target, data)
        except BaseException:
            (folder / f"{_FAULT}{inputs.name_of(data)}").write_bytes(data)
            print(f"\n#{count}\n{_MARK}\n{traceback.format_exc()}", flush=True)
            os._exit(_FAULTY)

    argv = [
        target.name, str(folder / "new"), str(folder / "seeds"), *([str(kept)] if kept.is_dir() else []),
        f"-seed={seed}",
        f"-max_total_time={seconds}", f"-runs={runs}", f"-max_len={max(target.input_max, *map(len, target.seeds))}",
        f"-dict={folder / 'words'}", f"-timeout={_HANGS}", "-rss_limit_mb=0", f"-artifact_prefix={folder}/{_FAULT}",
        "-print_final_stats=1", "-reload=0", "-len_control=20", "-use_value_profile=0",
    ]  # fmt: skip
    engine.Setup(argv, one, enable_python_coverage=True)
    engine.Fuzz()


def _outcome(target: Target, status: int) -> Outcome:
    folder = WORK / target.name
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    counted = _UNITS.findall(log) or _EXECUTED.findall(log)
    executions = int(counted[-1]) if counted else 0
    faults = sorted(folder.glob(f"{_FAULT}*"))
    if faults:
        return Outcome(target, executions, inputs.keep(target, faults[0].read_bytes(), found=True), _of_fault(log))
    if os.waitstatus_to_exitcode(status):
        return Outcome(target, executions, None, f"it ended with status {status}:\n{log[-2000:]}")
    return Outcome(target, executions)


def _of_fault(log: str) -> str:
    """Return the part of a log that tells of a fault."""
    return log.partition(_MARK)[2].strip() or log[-3000:]


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
