"""A dom0 of Qubes R4 for tests: the lab's qubesd, and Qubes' Python client, or a double where it is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.qubesd import CLIENT, Live, Machines, Qube, Qubesd


@contextmanager
def client(path: Path) -> Iterator[None]:
    """Let ``import qubesadmin`` find a client that looks for qubesd at *path*."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("qubesadmin") is None:
            patch.syspath_prepend(str(CLIENT))
        import qubesadmin.config

        patch.setattr(qubesadmin.config, "QUBESD_SOCKET", str(path))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "qubesadmin"]:
        del sys.modules[name]


@contextmanager
def qubes_r4(folder: Path, *vms: str, live: Live | None = None, machines: Machines | None = None) -> Iterator[Qubesd]:
    """A qubesd that knows *vms* and sys-net, which provides their network, all halted, and a client that finds it."""
    path = folder / "qubesd.sock"
    sys_net = Qube(features={"qubes-firewall": "1"}, properties={"provides_network": "True", "netvm": ""})
    qubes = {"sys-net": sys_net, **{name: Qube() for name in vms if name != "sys-net"}}
    with Qubesd(path, qubes, live, machines) as daemon, client(path):
        yield daemon
