"""The emulated Xen host of these tests, which are collected only for ``make test-xen``: they take minutes.

Each file of tests has the host as it was saved, so that files may run side by side.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xen import image, paths
from lab.xen.emulator import Emulator
from lab.xen.host import restored, saved
from vminterface.deadline import Deadline

HERE = Path(__file__).parent
collect_ignore_glob = [] if os.environ.get("XEN_TESTS") else ["test_*.py"]
#: Seconds for whichever test comes first and finds nothing in the cache, and for others.
FROM_NOTHING, EACH = 2400, 900
#: Seconds that a whole run is to take at most on two processors that have nothing else to do.
WANTED = {"from nothing": 480, "in part made": 480, "with the saved machine": 180}
#: What took how many seconds, of all processes that run tests: by kind of thing that was made, and by file of tests.
took: dict[str, float] = {}
BEGAN = time.monotonic()


def pytest_collection_modifyitems(items: Any) -> None:
    files = set()
    for item in items:  # of the whole run, not of this folder alone
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(EACH if item.path in files else FROM_NOTHING))
            files.add(item.path)


def pytest_sessionfinish(session: Any) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["took"] = took


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    took.update(getattr(node, "workeroutput", {}).get("took", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not took:
        return
    whole = time.monotonic() - BEGAN
    how = "with the saved machine" if "saved" not in took else "from nothing" if "packages" in took else "in part made"
    steps = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in took.items())
    load = os.getloadavg()[0]
    terminalreporter.write_line(
        f"Xen host {how}: {whole:.0f} s (wanted: {WANTED[how]} at most); {steps}; load {load:.1f}"
    )


@pytest.fixture(scope="session")
def say(request: Any) -> Any:
    """Tells on the terminal what takes its time, with the seconds since the beginning and the machine's load."""
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def say(text: Any) -> None:
        line = f"\n  [{time.monotonic() - BEGAN:4.0f} s, load {os.getloadavg()[0]:.1f}] {text}"
        with capture.global_and_fixture_disabled():
            os.write(2, line.encode())  # as the output of a process that runs tests beside others goes elsewhere

    return say


@pytest.fixture(scope="session")
def booted(say: Any) -> Any:
    """The image, and the folder with the saved host."""
    assert shutil.which("qemu-system-x86_64"), "these tests need qemu-system-x86_64 (Debian: qemu-system-x86)"
    made = image.build(say)
    folder = saved(made, lambda line: say(line) if line.startswith("dom0:") else None, say)
    took.update(paths.made)
    return made, folder


@pytest.fixture(scope="module")
def host(request: Any, booted: Any, say: Any) -> Iterator[Any]:
    """A Xen host with the VMs of the shipped pillar, as they are before anything was pushed."""
    made, folder = booted
    began = time.monotonic()
    with Emulator(made, lambda line: None) as machine:
        one = restored(folder, machine)
        say(f"{request.path.stem}: the saved host is at work")
        yield one
        say(f"{request.path.stem}: switching off; QEMU had {machine.peak_mib} MiB at most")
        one.off()
        took[request.path.stem] = time.monotonic() - began


@pytest.fixture(scope="module")
def first(host: Any, say: Any) -> Any:
    """Exit status and report of the first highstate with the shipped pillar."""
    host.pillar({})
    began = time.monotonic()
    done = host.highstate()
    say(f"the first highstate took {time.monotonic() - began:.0f} s")
    return done


def wait_until(happens: Any, seconds: Any, what: Any) -> None:
    """Ask *happens* until it says so; fail with *what*, or what that returns, after *seconds*."""
    deadline = Deadline.after(seconds)
    while not happens():
        if deadline.passed:
            pytest.fail(f"{what() if callable(what) else what} has not come about within {seconds} s")
        time.sleep(0.5)
