"""Addresses that a VM is shown instead of its own: the features and the network in one push, at once or for later."""

from __future__ import annotations

from typing import Any

import pytest

from lab.qubesd import Qube
from tests.support.qubeshost import R4
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.results.returns import changes_of
from vminterface.errors import InvalidValues

FAKES = {"net.fake-ip": "192.168.1.9", "net.fake-gateway": "192.168.1.1", "net.fake-netmask": "255.255.255.0"}
SHOWN = {"ip": "192.168.1.9", "gateway": "192.168.1.1", "netmask": "255.255.255.0"}


def settings(**raw: Any) -> VMSettings:
    return VMSettings.parse("work", {"timeout": 5, **raw})


def shown(qubes: R4) -> dict[str, str | None]:
    return {name: qubes.host.read("work", f"qubes-{name}") for name in SHOWN}


def test_a_running_vm_is_shown_them_from_its_next_start_on(qubes: Any) -> None:
    before = shown(qubes)
    routed = qubes.qubesd.system.value("work", "ip")
    desired = settings(network=SHOWN, features=FAKES)
    (would,) = qubes.diff(desired)
    (outcome,) = qubes.push(desired)
    assert outcome.ok, outcome.comment()
    assert changes_of(outcome) == changes_of(would)
    assert {name for name in changes_of(outcome) if name.startswith("persistent:")} == {
        f"persistent:features:{name}" for name in FAKES
    }
    assert "network:ip takes effect at the VM's next start" in outcome.comment()
    assert shown(qubes) == before
    assert qubes.qubesd.qubes["work"].features == FAKES
    assert "ip" not in qubes.qubesd.qubes["work"].properties
    qubes.qubesd.start_vm("work")
    assert shown(qubes) == SHOWN
    assert qubes.qubesd.system.value("work", "ip") == routed
    (again,) = qubes.push(desired)
    assert changes_of(again) == {}


def test_reattach_shows_them_at_once(qubes: Any) -> None:
    desired = settings(network={**SHOWN, "reattach": True}, features=FAKES)
    (outcome,) = qubes.push(desired)
    assert outcome.ok, outcome.comment()
    assert shown(qubes) == SHOWN
    assert "features:net.fake-" not in outcome.comment()
    (again,) = qubes.push(desired)
    assert changes_of(again) == {}


def test_without_them_the_vm_is_shown_its_own_again(qubes: Any) -> None:
    qubes.push(settings(network=SHOWN, features=FAKES))
    qubes.qubesd.start_vm("work")
    own = {name: qubes.qubesd.system.value("work", name) for name in ("ip",)}
    gateway = qubes.qubesd.system.value("sys-net", "gateway")
    desired = settings(
        network={**own, "gateway": gateway}, features=dict.fromkeys(FAKES, "default"), firewall={"policy": "drop"},
        netvm="sys-net", confirm=False,
    )  # fmt: skip
    (outcome,) = qubes.push(desired)
    assert outcome.ok, outcome.comment()
    assert qubes.qubesd.qubes["work"].features == {}
    qubes.qubesd.start_vm("work")
    assert shown(qubes) == {**own, "gateway": gateway, "netmask": "255.255.255.255"}
    (again,) = qubes.push(desired)
    assert changes_of(again) == {}


def test_an_address_that_the_template_fakes_is_not_forgotten_with_the_vms_own(qubes: Any) -> None:
    qubes.qubesd.qubes["debian-13"] = Qube("TemplateVM", features={"net.fake-ip": "192.168.9.9"})
    qubes.qubesd.qubes["work"].properties["template"] = "debian-13"
    qubes.qubesd.qubes["work"].features["net.fake-ip"] = "192.168.1.9"
    gateway = qubes.qubesd.system.value("sys-net", "gateway")
    network = {"ip": "192.168.9.9", "gateway": gateway}
    (outcome,) = qubes.push(settings(network=network, features={"net.fake-ip": "default"}))
    assert outcome.ok, outcome.comment()
    assert qubes.qubesd.qubes["work"].features == {}


def test_the_shown_address_and_that_of_the_network_have_to_be_one() -> None:
    with pytest.raises(InvalidValues) as caught:
        settings(network=SHOWN, features={"net.fake-ip": "192.168.1.8"})
    assert str(caught.value) == (
        "work:features:net.fake-ip: is 192.168.1.8, but network:ip, the address that the VM sees, is 192.168.1.9"
    )


@pytest.mark.parametrize("with_network", [True, False])
def test_all_is_as_before_where_attaching_fails(qubes: Any, with_network: Any) -> None:
    before = shown(qubes)
    qubes.qubesd.faults.attach_fails.add("work")
    network = {"network": {**SHOWN, "reattach": True}} if with_network else {}
    netvm = {} if with_network else {"netvm": "sys-net", "label": "red"}
    qubes.qubesd.qubes["work"].properties["netvm"] = "sys-net" if with_network else ""
    (outcome,) = qubes.push(settings(features=FAKES, **network, **netvm))
    assert outcome.error is not None
    assert qubes.qubesd.qubes["work"].features == {}
    qubes.qubesd.faults.attach_fails.clear()
    qubes.qubesd.start_vm("work")
    assert shown(qubes) == (before if with_network else dict.fromkeys(SHOWN))
