"""Packages under test, collected only for ``make test-packages``: these need what ``make packages`` has built.

Each test has a machine of its own to install them on: this one's root, seen through an overlay that goes with it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.paths import PROJECT
from tests.support.dom0 import Dom0
from tests.support.packages import Machine
from tests.support.sshvm import SshVM

DIST = os.environ.get("PACKAGES_TESTS")
collect_ignore_glob = [] if DIST else ["test_*.py"]
OLDER = "0.0.9"

Machines = Callable[[Path], Machine]


@pytest.fixture(scope="session")
def dist() -> Path:
    """The folder with the packages."""
    assert DIST is not None
    return PROJECT / DIST


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packages of the same commit that say that they are of an older version."""
    if os.environ.get("PACKAGES_OLDER"):
        return Path(os.environ["PACKAGES_OLDER"])
    folder = tmp_path_factory.mktemp("older")
    environment = {**os.environ, "VERSION": OLDER, "PARTS": "rpm deb"}
    subprocess.run(
        [PROJECT / "tools/build-packages", folder], env=environment, check=True, capture_output=True, timeout=300
    )
    return folder


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    """A host with one VM, ``work``."""
    with Dom0(tmp_path / "xen") as dom0:
        dom0.start_vm("work")
        yield dom0


@pytest.fixture(params=["rpm", "deb"])
def machines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    """Make a machine with the package manager of the test, whose XenStore is in the folder that is named."""
    made: list[SshVM] = []

    def make(xenstore: Path) -> Machine:
        vm = SshVM(tmp_path, xenstore).__enter__()
        made.append(vm)
        return Machine(vm, request.param, tmp_path)

    yield make
    for vm in made:
        vm.__exit__(None, None, None)
