"""A signal that ends this program never leaves behind a program that it has just started.

The signal comes at the worst of moments, for certain: as the last thing that the start of the program does.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.linux import processes
from vminterface.channel import interruptions, process
from vminterface.channel.interruptions import Held
from vminterface.channel.process import Conversation
from vminterface.deadline import Deadline
from vminterface.errors import ProgramFailed, ProgramMissing
from vminterface.vm.handlers.runtime.programs import Program
from vminterface.vm.machine.machine import Machine

_SLEEP = ["sleep", "60"]
_TALK = Conversation(stdout_limit=10)


class Ended(BaseException):
    """What the handler raises, as Python's own does at Ctrl-C."""


def raising(number: int, frame: object) -> None:
    raise Ended(number)


@pytest.fixture
def handled() -> Iterator[None]:
    """Let SIGTERM raise."""
    former = signal.signal(signal.SIGTERM, raising)
    yield
    signal.signal(signal.SIGTERM, former)


@pytest.fixture
def begun(handled: None, monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[Any]]:
    """The programs that are started; each start ends with a SIGTERM to this process."""
    made: list[subprocess.Popen[Any]] = []

    class Struck(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            made.append(self)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Struck)
    return made


def run() -> None:
    process.run(_SLEEP, "the test", Deadline.after(20), _TALK)


def in_machine() -> None:
    Machine().run(_SLEEP, timeout=20)


def with_block() -> None:
    with Program(_SLEEP) as program:
        program.wait(timeout=20)


def in_lab() -> None:
    with processes.started(_SLEEP) as one:
        one.wait(20)


@pytest.mark.parametrize("way", [run, in_machine, with_block, in_lab])
def test_a_program_is_ended_whose_start_a_signal_interrupts(begun: list[subprocess.Popen[Any]], way: Any) -> None:
    with pytest.raises(Ended):
        way()
    assert [one.returncode is not None for one in begun] == [True]
    assert signal.getsignal(signal.SIGTERM) is raising


@pytest.mark.parametrize("way", [run, in_machine, with_block, in_lab])
def test_a_program_inherits_no_blocked_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Any) -> None:
    told = tmp_path / "status"
    script = f"grep -E '^Sig(Blk|Ign)' /proc/self/status > {told}"
    monkeypatch.setattr(sys.modules[__name__], "_SLEEP", ["sh", "-c", script])
    way()
    lines = Path("/proc/self/status").read_text().splitlines()
    own = {line.split()[0]: int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk", "SigIgn"))}
    theirs = {line.split()[0]: int(line.split()[1], 16) for line in told.read_text().splitlines()}
    assert theirs["SigBlk:"] == own["SigBlk:"]
    # Python gives SIGPIPE and SIGXFSZ back to a program.
    assert theirs["SigIgn:"] == own["SigIgn:"] & ~(1 << signal.SIGPIPE - 1) & ~(1 << signal.SIGXFSZ - 1)


@pytest.mark.parametrize("argv", [["/no/such/program"], ["true", "\0"]])
def test_after_a_start_that_failed_signals_are_heard_again(handled: None, argv: list[str]) -> None:
    for start in (
        lambda: Program(argv),
        lambda: process.run(argv, "it", Deadline.after(5), _TALK),
    ):
        with pytest.raises((ProgramMissing, ValueError)):
            start()
        assert signal.getsignal(signal.SIGTERM) is raising


def test_a_program_that_cannot_be_waited_for_is_ended_and_signals_are_heard_again(
    handled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def refused(pid: int) -> int:
        made.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refused)
    with pytest.raises(ProgramFailed, match="sleep cannot be waited for: Too many open files"):
        Program(_SLEEP)
    with pytest.raises(ProcessLookupError):
        os.kill(made[0], 0)
    assert signal.getsignal(signal.SIGTERM) is raising


def test_what_came_is_heard_at_the_release(handled: None) -> None:
    held = Held()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(Ended):
        held.release()
    with pytest.raises(Ended):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_another_thread_takes_waits_too(handled: None) -> None:
    went_on = False

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.kill(os.getpid(), signal.SIGTERM)

    held = Held()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        went_on = True
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
        with pytest.raises(Ended):
            held.release()
    assert went_on


def test_other_threads_start_programs_as_well(handled: None) -> None:
    status: list[int] = []

    def work() -> None:
        status.append(process.run(["true"], "it", Deadline.after(20), _TALK).status)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert status == [0]
    assert signal.getsignal(signal.SIGTERM) is raising


def test_what_is_ignored_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        one, held = interruptions.start(["sh", "-c", "kill -HUP $$; exit 3"])
        held.release()
        end = time.monotonic() + 20
        while one.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert one.returncode == 3
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
