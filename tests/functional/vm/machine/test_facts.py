"""What a VM knows of itself from dom0's keys, on both channels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.qubesdb import Daemons
from tests.support.stores import HOME, dom0, guest, guest_home, xenstored  # noqa: F401
from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore.store import XenStore
from vminterface.vm.machine import facts

KEYS = {
    "name": "work",
    "qubes-vm-type": "AppVM",
    "qubes-ip": "10.137.0.12",
    "qubes-gateway": "10.137.0.5",
    "qubes-service/cups": "1",
    "qubes-service/clocksync": "0",
    "qubes-service/bad": "yes",
}
FACTS = {
    "name": "work",
    "type": "AppVM",
    "ip": "10.137.0.12",
    "gateway": "10.137.0.5",
    "services": {"cups": True, "clocksync": False},
}


def test_a_guest_of_the_xenstore_knows_what_dom0_told_it(dom0: XenStore, guest: XenStore, guest_home: str) -> None:  # noqa: F811
    for key, text in KEYS.items():
        dom0.write(f"{HOME}/{key}", text.encode())
    assert facts.read(guest) == FACTS


@pytest.fixture
def qubesdb(tmp_path: Path) -> Iterator[KeyStore]:
    with Daemons(tmp_path, "work") as daemons, daemons.guest("work") as store:
        yield store


def test_a_guest_with_a_qubesdb_knows_it_from_there(qubesdb: KeyStore) -> None:
    for key, text in KEYS.items():
        qubesdb.write(f"/{key}", text.encode())
    assert facts.read(qubesdb) == FACTS
    qubesdb.write("/type", b"AdminVM")
    assert facts.read(qubesdb) == {}


def test_what_is_not_in_its_form_is_left_out(dom0: XenStore, guest: XenStore, guest_home: str) -> None:  # noqa: F811
    for key, value in (("qubes-vm-type", b"AppVM"), ("qubes-ip", b"1.2.3"), ("qubes-gateway", b"\xff")):
        dom0.write(f"{HOME}/{key}", value)
    assert facts.read(guest) == {"name": "work", "type": "AppVM", "services": {}}


def test_a_domain_that_no_qubes_dom0_made_has_no_facts(guest: XenStore, guest_home: str) -> None:  # noqa: F811
    assert facts.read(guest) == {}


def test_dom0_is_no_vm(dom0: XenStore) -> None:  # noqa: F811
    dom0.write("/local/domain/0/domid", b"0")
    dom0.write("/local/domain/0/qubes-vm-type", b"AppVM")
    assert facts.read(dom0) == {}
