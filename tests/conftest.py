"""What holds for every test: marks by folder, no silent skips in CI, hypothesis profiles, a local log server."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt  # noqa: F401  the bare package, for what it does to sys.meta_path; cheap
from hypothesis import core as hypothesis_core
from hypothesis import settings

from tests.support import busy, seeds
from tests.support.sentences import check_errors

TESTS = Path(__file__).resolve().parent
MARKS_BY_FOLDER = {"functional/salt": "salt", "system": "system"}
#: Files and folders, those first that a process is busy with the longest.
LONGEST = ("system", "functional/salt", "functional")
IN_CI = os.environ.get("CI") == "true"

# A shell that starts the tests in the background lets them ignore what Ctrl-C sends; tests of it want it heard.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
# What nohup(1) starts ignores the end of its terminal, and so would all that the tests start and end by that.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# No deadline a case: the machine may be shared, and what is slow is found by the time limit of the whole test.
# Each day has other examples, in CI too: what decides is the day's seed (tests/support/seeds.py), or --hypothesis-seed.
settings.register_profile("default", deadline=None, derandomize=False)
settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("ci" if IN_CI else "default")

# Salt leaves an importer of the old kind on sys.meta_path, for the sake of libnacl. Python passes over what has no
# find_spec; pytest's importlib mode does not.
sys.meta_path[:] = [importer for importer in sys.meta_path if hasattr(importer, "find_spec")]


def pytest_configure(config: Any) -> None:
    """Give hypothesis the day's seed, and each process that runs tests the locks and history of its own VMs alone.

    The VMs of other processes have the same names.
    """
    if config.getoption("--hypothesis-seed") is None:
        setattr(hypothesis_core, "global_force_seed", seeds.number("hypothesis"))  # noqa: B010 - typed as None
    config.own_pid = os.getpid()
    config.lock_folder = tempfile.TemporaryDirectory(prefix="vminterface-locks-")
    os.environ["VMINTERFACE_LOCK_DIR"] = config.lock_folder.name
    os.environ["VMINTERFACE_LOG_DIR"] = f"{config.lock_folder.name}/log"
    config.patch = pytest.MonkeyPatch()
    check_errors(config.patch)
    # Thousands of files, none of which has to be there after a power failure: half a minute of waiting for the disk.
    config.patch.setattr(os, "fsync", lambda file: None)


def pytest_unconfigure(config: Any) -> None:
    config.patch.undo()
    config.lock_folder.cleanup()


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    """Say how to do a run with failures again: what is random in it is another each day."""
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(f"what is random in these tests: {seeds.replay()}")


def pytest_collection_modifyitems(items: Any) -> None:
    """Mark tests by their folder; begin with what takes longest, so that no process has a long file left in the end."""
    # Once for each file: asking each of ten thousand tests takes longer than collecting them.
    files = {item.path for item in items}
    place = {
        file: next((n for n, path in enumerate(LONGEST) if file.is_relative_to(TESTS / path)), len(LONGEST))
        for file in files
    }
    marks = {
        file: [mark for folder, mark in MARKS_BY_FOLDER.items() if file.is_relative_to(TESTS / folder)]
        for file in files
    }
    items.sort(key=lambda item: place[item.path])
    for item in items:
        for mark in marks[item.path]:
            item.add_marker(mark)


def pytest_collection_finish(session: Any) -> None:
    """Let the garbage collector pass over the tests themselves, which are there until the end: each process has all."""
    gc.collect()
    gc.freeze()


def fail_where_skipped(report: Any) -> None:
    """Turn a skip into a failure: in CI everything that a test needs is there, so a skip hides a missing part."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where only tests marked allow_skip may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Generator[None, Any, Any]:
    if os.getpid() != item.config.own_pid:
        # A fork that a test has made, and that should have ended in it: what it reports would be taken for the run's.
        os._exit(70)
    report = yield
    if IN_CI and item.get_closest_marker("allow_skip") is None:
        fail_where_skipped(report)
    if report.failed and "Timeout" in report.longreprtext:
        report.sections.append(("What kept the machine busy", busy.busiest()))
    return report


# First among the wrappers, so that pytest itself has done with the report.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector: Any) -> Iterator[Any]:
    report = yield
    if IN_CI:
        fail_where_skipped(report)
    return report


# Before the plugin's own hook, which starts the server: it would listen on every address.
@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: Any) -> None:
    log_server = session.config.pluginmanager.get_plugin("saltfactories-log-server")
    if log_server is not None:
        log_server.log_host = "127.0.0.1"
