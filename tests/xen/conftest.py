"""The emulated Xen host of these tests, which are collected only for ``make test-xen``: they take minutes."""

import os
import shutil
import time
from pathlib import Path

import pytest

from lab.xen import image
from lab.xen.emulator import Emulator
from lab.xen.host import restored, saved

HERE = Path(__file__).parent
collect_ignore_glob = [] if os.environ.get("XEN_TESTS") else ["test_*.py"]
#: Seconds for whichever test comes first and finds nothing in the cache.
FROM_NOTHING = 900
#: What an admin adds to the pillar where VMs are slow.
SLOW = {"qubes": {"defaults": {"timeout": 60}}}


def pytest_collection_modifyitems(items):
    for item in items:  # of the whole run, not of this folder alone
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(FROM_NOTHING))


@pytest.fixture(scope="session")
def say(request):
    """Tells on the terminal what takes its time, with the seconds since the beginning and the machine's load."""
    began = time.monotonic()
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def say(text):
        with capture.global_and_fixture_disabled():
            print(f"\n  [{time.monotonic() - began:4.0f} s, load {os.getloadavg()[0]:.1f}] {text}", end="", flush=True)

    return say


@pytest.fixture(scope="session")
def host(say):
    """A Xen host with the VMs of the shipped pillar, as they are before anything was pushed."""
    assert shutil.which("qemu-system-x86_64"), "these tests need qemu-system-x86_64 (Debian: qemu-system-x86)"
    made = image.build(say)
    folder = saved(made, lambda line: say(line) if line.startswith("dom0:") else None, say)
    with Emulator(made, lambda line: None) as machine:
        one = restored(folder, machine)
        say("the saved host is at work")
        yield one
        say(f"switching off; QEMU had {machine.peak_mib} MiB at most")
        one.off()


@pytest.fixture(scope="session")
def first(host, say):
    """Exit status and report of the first highstate with the shipped pillar."""
    host.pillar(SLOW)
    done = host.highstate()
    say("the first highstate is done")
    return done
