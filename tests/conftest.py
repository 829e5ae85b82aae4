"""What holds for every test: marks by folder, no silent skips in CI, hypothesis profiles, a local log server."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest
import salt  # noqa: F401  the bare package, for what it does to sys.meta_path; cheap
from hypothesis import settings

TESTS = Path(__file__).resolve().parent
MARKS_BY_FOLDER = {"functional/salt": "salt", "system": "system"}
IN_CI = os.environ.get("CI") == "true"

# A shell that starts the tests in the background lets them ignore what Ctrl-C sends; tests of it want it heard.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) == signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# No deadline a case: the machine may be shared, and what is slow is found by the time limit of the whole test.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, max_examples=500, print_blob=True)
settings.load_profile("ci" if IN_CI else "default")

# Salt leaves an importer of the old kind on sys.meta_path, for the sake of libnacl. Python passes over what has no
# find_spec; pytest's importlib mode does not.
sys.meta_path[:] = [importer for importer in sys.meta_path if hasattr(importer, "find_spec")]


def pytest_configure(config):
    """Let each process that runs tests lock the VMs of its own hosts alone: those of others have the same names."""
    config.lock_folder = tempfile.TemporaryDirectory(prefix="vminterface-locks-")
    os.environ["VMINTERFACE_LOCK_DIR"] = config.lock_folder.name


def pytest_unconfigure(config):
    config.lock_folder.cleanup()


def pytest_collection_modifyitems(items):
    for item in items:
        for folder, mark in MARKS_BY_FOLDER.items():
            if item.path.is_relative_to(TESTS / folder):
                item.add_marker(mark)


def fail_where_skipped(report):
    """Turn a skip into a failure: in CI everything that a test needs is there, so a skip hides a missing part."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where only tests marked allow_skip may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if IN_CI and item.get_closest_marker("allow_skip") is None:
        fail_where_skipped(report)
    return report


# First among the wrappers, so that pytest itself has done with the report.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    report = yield
    if IN_CI:
        fail_where_skipped(report)
    return report


# Before the plugin's own hook, which starts the server: it would listen on every address.
@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    log_server = session.config.pluginmanager.get_plugin("saltfactories-log-server")
    if log_server is not None:
        log_server.log_host = "127.0.0.1"
