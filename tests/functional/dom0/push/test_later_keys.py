"""Keys that came after the interface's document: each under its name, with the text that VMs of its release read."""

from __future__ import annotations

import pytest

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.push.push import push

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

PROXY = {
    "base_template": "debian-13",
    "persistence": "rw-only",
    "default_user": "user",
    "keyboard": "pl+dvorak",
    "vm_config": {"log-backend": "syslog"},
    "network": {
        "ip": "10.137.1.7",
        "gateway": "10.137.1.1",
        "mac": "00:16:3e:5e:6c:00",
        "ip6": "fd09:24ef:4179::a89:107",
        "gateway6": "fd09:24ef:4179::a89:1",
        "dns": ["10.139.1.1", "fd09:24ef:4179::1"],
        "dns_search": ["corp.example.org", "example.org"],
    },
    "provides_network": {
        "gateway": "10.137.2.1",
        "network": "10.137.2.0",
        "gateway6": "fe80::fcff:ffff:feff:ffff",
        "connected": [{"ip": "10.137.2.9", "mac": "00:16:3e:5e:6c:09"}],
    },
}
PUSHED = {
    "qubes-base-template": "debian-13",
    "qubes-vm-persistence": "rw-only",
    "default-user": "user",
    "keyboard-layout": "pl+dvorak+",
    "vm-config/log-backend": "syslog",
    "qubes-mac": "00:16:3e:5e:6c:00",
    "qubes-ip6": "fd09:24ef:4179::a89:107",
    "qubes-gateway6": "fd09:24ef:4179::a89:1",
    "qubes-primary-dns": "10.139.1.1",
    "vm-config/vminterface-dns": "10.139.1.1 fd09:24ef:4179::1",
    "vm-config/vminterface-dns-search": "corp.example.org example.org",
    "qubes-netvm-gateway6": "fe80::fcff:ffff:feff:ffff",
}
#: Written by qubesd or the toolstack, and read alone.
READ = {
    "type": "AppVM",
    "qubes-gui-enabled": "True",
    "qubes-gui-domain-xid": "0",
    "qubes-gui-videoram-min": "16384",
    "qubes-gui-videoram-overhead": "32768",
    "qubes-audio-domain-xid": "3",
    "guivm-windows-prefix": "sys-gui ",
}


def test_every_later_key_has_its_name_and_its_text(dom0: Dom0) -> None:
    dom0.start_vm("firewall")
    with dom0.targets() as targets:
        (outcome,) = push([VMSettings.parse("firewall", PROXY)], targets)
    assert outcome.ok
    with dom0.guest_store("firewall") as guest:
        assert {name: guest.read(name).decode() for name in PUSHED} == PUSHED
        # A form of ours: R4's connected-ips would not hold more than the addresses.
        connected = guest.read("qubes-netvm-connected").decode()
    assert "10.137.2.9" in connected
    assert "00:16:3e:5e:6c:09" in connected


def test_keys_that_nothing_pushes_are_read(dom0: Dom0) -> None:
    domid = dom0.start_vm("work")
    with dom0.store() as store:
        for name, text in READ.items():
            store.write(f"/local/domain/{domid}/{name}", text.encode())
    with dom0.targets() as targets:
        states, faults = observed.read_all([targets.one("work")])
    assert not faults
    rows = {name: key for name in READ if (key := keys.for_name(name)) is not None}
    assert {name: states["work"].values[key.field] for name, key in rows.items()} == {
        name: key.parse(READ[name]) for name, key in rows.items()
    }
    assert rows.keys() == READ.keys()
    assert not any(key.pushed for key in rows.values())
