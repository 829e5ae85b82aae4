"""A VM that makes a directory of any size costs dom0 its own data alone, on the C xenstored and on oxenstored.

oxenstored answers a listing in one message, however long it is; the C xenstored gives it in parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.xenstored import fakexen, oxenstored
from lab.xenstored.fakexen import RealXenstored
from lab.xenstored.oxenstored import Oxenstored
from tests.support.stores import need
from vminterface.channel.store import Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import diff, push
from vminterface.dom0.reports import devices
from vminterface.dom0.results import known
from vminterface.errors import StoreError
from vminterface.wire import xenstore as wire
from vminterface.wire import xenstore_messages as messages

BIG, WORK = "/local/domain/1", "/local/domain/2"
WIDE = 60


class Host:
    """Dom0 with two VMs in one store; ``big`` may make as many names as it likes."""

    def __init__(self, daemon: Oxenstored | RealXenstored, folder: Path) -> None:
        self.daemon, self.folder = daemon, folder
        if isinstance(daemon, RealXenstored):
            for domid in (1, 2):
                daemon.create(domid)
        with XenStore.open(daemon.socket_path) as store:
            for home, name in ((BIG, b"big"), (WORK, b"work")):
                store.write(f"{home}/name", name)
                store.write(f"{home}/qubes-timezone", b"UTC")

    def targets(self) -> Targets:
        return Targets(lambda: XenStore.open(self.daemon.socket_path), qubesdb_folder=str(self.folder))

    def fill(self, below: str, names: int) -> None:
        """Let ``big`` have that many long names below *below*."""
        with XenStore.open(self.daemon.socket_path) as store:
            paths = [f"{BIG}/{below}/{'x' * 72}{n:06}" for n in range(names)]
            assert not [one for one in store.batch([Write(path, b"") for path in paths], timeout=30) if one is not None]


@pytest.fixture(params=["oxenstored", "xenstored"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    need(oxenstored.missing() if request.param == "oxenstored" else fakexen.missing())
    (tmp_path / "q").mkdir()
    with (Oxenstored if request.param == "oxenstored" else RealXenstored)(tmp_path / "x") as daemon:
        yield Host(daemon, tmp_path / "q")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that few names exceed."""
    for module in (wire, messages):
        monkeypatch.setattr(module, "LISTING_MAX", 100 * 79)
    monkeypatch.setattr("vminterface.channel.xenstore.store.LISTING_MAX", 100 * 79)


def settings(zone: str) -> list[VMSettings]:
    return [VMSettings.parse(vm, {"timezone": zone, "services": {"cups": True}}) for vm in ("big", "work")]


def test_a_directory_longer_than_a_message_is_read(host: Host) -> None:
    host.fill("qubes-block-devices", WIDE)
    host.fill("qubes-service", 800)
    with host.targets() as targets:
        assert len(targets.xenstore.list(f"{BIG}/qubes-service")) == 800
        assert targets.xenstore.read(f"{WORK}/qubes-timezone") == b"UTC"
        report = devices.read(targets)
        assert report["work"].warnings == []
        assert report["big"].block_devices == []
        assert push(settings("Asia/Tokyo"), targets)[0].ok


@pytest.mark.parametrize("below", ["qubes-service", "qubes-block-devices"])
def test_one_that_is_too_long_costs_its_vm_alone(host: Host, narrow: None, below: str) -> None:
    host.fill(below, 400)
    with host.targets() as targets:
        report = devices.read(targets)
        assert report["work"].warnings == []
        path = f"{BIG}/{below}"
        if below == "qubes-block-devices":
            assert any(f"{path}: more than" in warning for warning in report["big"].warnings)
        else:
            states, errors = observed.read_all(targets.find(["big", "work"]).values())
            assert states["work"].texts["timezone"] == "UTC"
            assert list(errors) == ["big"]
            assert isinstance(errors["big"], StoreError)
            assert str(errors["big"]).startswith(f"big: {path}: more than ")
            assert list(known.read(targets)[1]) == ["big"]
            for run in (diff, push):
                big, work = run(settings("Asia/Tokyo"), targets)
                assert str(big.error).startswith(f"big: {path}: more than ")
                assert work.ok
                assert set(work.changes) == {"timezone", "services:cups"}
            assert targets.xenstore.read(f"{WORK}/qubes-timezone") == b"Asia/Tokyo"
            assert targets.xenstore.read(f"{BIG}/qubes-timezone") == b"UTC"
