"""The nodes that dom0 gives to a VM: writable for it, and nothing of the toolstack's touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing as missing_here
from tests.support.dom0 import Dom0
from tests.support.stores import GUEST, HOME, dom0, guest, guest_home, need, xenstored  # noqa: F401
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.grants import GIVEN, grant, grant_all, missing
from vminterface.dom0.push.push import push
from vminterface.errors import InvalidValue, PermissionDenied

BASE = f"{HOME}/"


@pytest.fixture
def home(dom0: XenStore, guest_home: str) -> str:  # noqa: F811
    """A home as ``xl`` makes it: ``memory`` is dom0's."""
    dom0.write(f"{HOME}/memory/target", b"409600")
    for path in (f"{HOME}/memory", f"{HOME}/memory/target"):
        dom0.set_permissions(path, ["n0", f"r{GUEST}"])
    return guest_home


def test_the_vm_can_write_its_reports_and_answers_afterwards(dom0: XenStore, guest: XenStore, home: str) -> None:  # noqa: F811
    assert dom0.transaction(lambda view: grant(view, GUEST, BASE)) == GIVEN
    guest.write("memory/meminfo", b"210000")
    guest.write("qubes-block-devices/sda/desc", b"Stick")
    guest.write("qubes-usb-devices/2-1/desc", b"Mouse")
    guest.write("vminterface/ack/timezone", b"ok")
    assert dom0.read(f"{HOME}/memory/meminfo") == b"210000"


def test_the_toolstacks_own_nodes_stay_as_they_are(dom0: XenStore, guest: XenStore, home: str) -> None:  # noqa: F811
    grant(dom0, GUEST, BASE)
    assert dom0.read(f"{HOME}/memory/target") == b"409600"
    assert dom0.permissions(f"{HOME}/memory") == ["n0", f"r{GUEST}"]
    for key in ("memory/target", "memory/other", "name"):
        with pytest.raises(PermissionDenied):
            guest.write(key, b"x")


def test_what_the_vm_has_written_and_who_may_read_it_is_kept(dom0: XenStore, home: str) -> None:  # noqa: F811
    dom0.write(f"{HOME}/memory/meminfo", b"5")
    dom0.set_permissions(f"{HOME}/memory/meminfo", ["n0", f"r{GUEST}", "r9"])
    dom0.write(f"{HOME}/qubes-block-devices/sda/desc", b"Stick")
    dom0.set_permissions(f"{HOME}/qubes-block-devices", ["n0", f"b{GUEST}"])
    given = grant(dom0, GUEST, BASE)
    assert "qubes-block-devices" not in given
    assert dom0.read(f"{HOME}/memory/meminfo") == b"5"
    assert dom0.permissions(f"{HOME}/memory/meminfo") == [f"n{GUEST}", "r9"]
    assert dom0.read(f"{HOME}/qubes-block-devices/sda/desc") == b"Stick"


def test_the_second_time_there_is_nothing_to_give(dom0: XenStore, home: str) -> None:  # noqa: F811
    assert set(missing(dom0, GUEST, BASE)) == set(GIVEN)
    grant(dom0, GUEST, BASE)
    before = dom0.tree(HOME)
    assert grant(dom0, GUEST, BASE) == ()
    assert dom0.tree(HOME) == before


def test_an_owner_of_the_whole_memory_node_keeps_it(dom0: XenStore, guest_home: str) -> None:  # noqa: F811
    grant(dom0, GUEST, BASE)
    assert dom0.permissions(f"{HOME}/memory") == [f"n{GUEST}"]
    assert dom0.permissions(f"{HOME}/memory/meminfo") == [f"n{GUEST}"]


def test_a_push_introduces_the_vm(dom0: XenStore, guest: XenStore, home: str, xenstored: object) -> None:  # noqa: F811
    with Targets(lambda: XenStore.open(xenstored.socket_path)) as targets:  # type: ignore[attr-defined]
        (outcome,) = push([VMSettings.parse("work", {"timezone": "Europe/Warsaw", "confirm": False})], targets)
    assert outcome.ok
    guest.write("memory/meminfo", b"210000")
    assert missing(dom0, GUEST, BASE) == {}


def test_every_vm_that_runs_can_be_introduced_at_once(tmp_path: Path) -> None:
    need(missing_here())
    with Dom0(tmp_path / "xen") as host, host.targets() as targets:
        for vm in ("work", "personal"):
            host.start_vm(vm)
        before = host.dump()
        assert grant_all(targets, test=True) == {"personal": GIVEN, "work": GIVEN}
        assert host.dump() == before
        assert grant_all(targets, ["work", "nosuch"]) == {"work": GIVEN}
        assert grant_all(targets) == {"personal": GIVEN}
        assert grant_all(targets) == {}
        with host.guest_store("personal") as guest:
            guest.write("memory/meminfo", b"5")


@pytest.mark.parametrize("vms", ["work", [7], ["no/name"], {"work": 1}])
def test_what_is_no_list_of_vms_is_refused(vms: object) -> None:
    with Targets() as targets, pytest.raises(InvalidValue):
        grant_all(targets, vms)  # type: ignore[arg-type]
