"""Stores for tests: the real xenstored and the lab's own, and the ways by which they are reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import RealXenstored, missing
from lab.xenstored.process import OwnXenstored
from tests.support.warm import WarmPython
from vminterface.channel.xenstore.store import XenStore


class WarmXenstored(OwnXenstored):
    """The lab's daemon, which starts sooner (tests/support/warm.py)."""

    def _launch(self, words: list[str], environment: dict[str, str]) -> WarmPython:
        return WarmPython(words, env=environment)


#: The guest that the fixtures of this file have.
GUEST = 7
HOME = f"/local/domain/{GUEST}"


def need(lack: str) -> None:
    """Skip the test for what this machine lacks; on CI, where everything must be there, let it fail."""
    if lack:
        if os.environ.get("CI") == "true":
            pytest.fail(lack)
        pytest.skip(lack)


@pytest.fixture(params=["real", "lab"])
def xenstored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealXenstored | OwnXenstored]:
    """A XenStore daemon with an empty store: once the real C xenstored, once the lab's own."""
    if request.param == "real":
        need(missing())
    with (RealXenstored if request.param == "real" else WarmXenstored)(tmp_path / "xen") as daemon:
        yield daemon


@pytest.fixture
def dom0(xenstored: RealXenstored | OwnXenstored) -> Iterator[XenStore]:
    """Dom0's connection to the daemon."""
    with XenStore.open(xenstored.socket_path) as store:
        yield store


@pytest.fixture
def guest_home(xenstored: RealXenstored | OwnXenstored, dom0: XenStore) -> str:
    """Domain GUEST with a home: ``name`` readable, ``memory`` its own, ``secret`` dom0's alone."""
    xenstored.create(GUEST)
    dom0.write(f"{HOME}/name", b"work")
    dom0.write(f"{HOME}/memory", b"")
    dom0.write(f"{HOME}/secret", b"dom0's")
    dom0.set_permissions(HOME, ["n0", f"r{GUEST}"])
    dom0.set_permissions(f"{HOME}/name", ["n0", f"r{GUEST}"])
    dom0.set_permissions(f"{HOME}/memory", [f"n{GUEST}"])
    dom0.set_permissions(f"{HOME}/secret", ["n0"])
    return HOME


@pytest.fixture(params=["socket", "device"])
def guest(
    request: pytest.FixtureRequest, xenstored: RealXenstored | OwnXenstored, guest_home: str
) -> Iterator[XenStore]:
    """The guest's own connection: through its bus's socket, and through the device file where the daemon has one."""
    if request.param == "device" and isinstance(xenstored, RealXenstored):
        address = xenstored.device(GUEST)
    else:
        address = xenstored.socket(GUEST)
    with XenStore.open(address, window=16) as store:
        yield store
