"""The agent and what its network rests on: interfaces that go and come, clients that the toolstack names, resolvers."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.functional.vm.agent.test_agent import ANNOUNCEMENT, VM, until, vm  # noqa: F401
from tests.support.stores import GUEST, HOME, xenstored  # noqa: F401
from vminterface import keys
from vminterface.vm.apply import provider

INPUTS = {"network:ip": "10.137.0.12", "network:gateway": "10.137.0.5"}
PROVIDER = {"provides_network:gateway": "10.137.0.5", "provides_network:primary_dns": "10.139.1.1"}


class Inside:
    """The network namespace of a VM's agent."""

    def __init__(self, vm: VM) -> None:  # noqa: F811
        assert vm.agent is not None
        self._prefix = ["nsenter", "-t", str(vm.agent.pid), "-U", "-n", "--preserve-credentials"]

    def __call__(self, *words: str) -> str:
        return subprocess.run([*self._prefix, *words], check=True, capture_output=True, text=True, timeout=10).stdout

    def plug(self, name: str) -> None:
        self("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}b")


def started(vm: VM) -> Inside:  # noqa: F811
    vm.start_agent()
    until(lambda: vm.said(keys.AGENT) == ANNOUNCEMENT)
    return Inside(vm)


def test_an_interface_that_was_unplugged_is_configured_again_when_it_comes_back(vm: VM) -> None:  # noqa: F811
    inside = started(vm)
    inside.plug("eth0")
    vm.push(qubes_ip="10.137.0.12", qubes_gateway="10.137.0.5")
    assert vm.reply("network", INPUTS).accepted
    for _ in range(2):
        inside("ip", "link", "del", "eth0")
        until(lambda: "no interface eth0" in vm.reply("network", INPUTS).note)
        inside.plug("eth0")
        until(lambda: vm.reply("network", INPUTS).accepted)
        assert "10.137.0.12/32" in inside("ip", "address", "show", "dev", "eth0")
        assert "default via 10.137.0.5" in inside("ip", "route", "show")


def test_an_interface_that_was_replaced_between_two_looks_is_configured(vm: VM) -> None:  # noqa: F811
    inside = started(vm)
    inside.plug("eth0")
    vm.push(qubes_ip="10.137.0.12", qubes_gateway="10.137.0.5")
    assert vm.reply("network", INPUTS).accepted
    inside("sh", "-c", "ip link del eth0 && ip link add eth0 type veth peer name eth0b")
    until(lambda: "default via 10.137.0.5" in inside("ip", "route", "show"))


def tell_of_client(vm: VM, domid: int, ip: str, mac: str) -> None:  # noqa: F811
    """What the toolstack writes for a client's interface on the provider's side."""
    path = f"{HOME}/backend/vif/{domid}/0"
    for key, value in (("", ""), ("/ip", ip), ("/mac", mac)):
        vm.dom0.write(path + key, value.encode())
        vm.dom0.set_permissions(path + key, [f"n{GUEST}", f"r{domid}"])


def test_a_provider_connects_the_clients_that_the_toolstack_names_as_they_come_and_go(vm: VM) -> None:  # noqa: F811
    inside = started(vm)
    (vm.root / "etc/resolv.conf").write_text("nameserver 192.0.2.53\n")
    vm.push(qubes_netvm_gateway="10.137.0.5", qubes_netvm_primary_dns="10.139.1.1")
    assert vm.reply("provider", PROVIDER).note == "gateway 10.137.0.5; DNS requests go to 192.0.2.53; 0 clients"
    assert inside("cat", provider.FORWARDING["ip"]) == "1\n"
    tell_of_client(vm, 9, "10.137.0.12 fd09::c", "00:16:3e:5e:6c:01")
    until(lambda: vm.reply("provider", PROVIDER).note.endswith("; 0 of 2 clients are connected"))
    inside.plug("vif9.0")
    until(lambda: vm.reply("provider", PROVIDER).note.endswith("; 2 clients"))
    assert "10.137.0.12 scope link metric" in inside("ip", "route", "show", "dev", "vif9.0")
    assert '"vif9.0" . 10.137.0.12' in inside("nft", "list", "set", "ip", "qubes", "allowed")
    vm.dom0.remove(f"{HOME}/backend/vif/9")
    until(lambda: vm.reply("provider", PROVIDER).note.endswith("; 0 clients"))
    assert "10.137.0.12" not in inside("nft", "list", "ruleset")


def test_other_resolvers_are_noticed(vm: VM) -> None:  # noqa: F811
    resolv_conf: Path = vm.root / "etc/resolv.conf"
    resolv_conf.write_text("nameserver 192.0.2.53\n")
    inside = started(vm)
    vm.push(qubes_netvm_gateway="10.137.0.5", qubes_netvm_primary_dns="10.139.1.1")
    assert vm.reply("provider", PROVIDER).accepted
    assert "dnat to 192.0.2.53" in inside("nft", "list", "ruleset")
    resolv_conf.write_text("nameserver 192.0.2.54\n")
    until(lambda: "dnat to 192.0.2.54" in inside("nft", "list", "ruleset"))
    assert "192.0.2.53" not in inside("nft", "list", "ruleset")


def test_without_the_providers_keys_forwarding_is_off_again(vm: VM) -> None:  # noqa: F811
    inside = started(vm)
    vm.push(qubes_netvm_gateway="10.137.0.5", qubes_netvm_primary_dns="10.139.1.1")
    assert vm.reply("provider", PROVIDER).accepted
    vm.push(qubes_netvm_gateway="10.137.0.500")
    refused = vm.reply("provider", {**PROVIDER, "provides_network:gateway": "10.137.0.500"})
    assert not refused.accepted
    assert "gateway: '10.137.0.500' is not a valid IPv4 address" in refused.note
    assert inside("cat", provider.FORWARDING["ip"]) == "1\n"
    for name in ("qubes-netvm-gateway", "qubes-netvm-primary-dns"):
        vm.dom0.remove(f"{HOME}/{name}")
    assert vm.reply("provider", {}).accepted
    assert inside("cat", provider.FORWARDING["ip"]) == "0\n"
    assert inside("nft", "list", "ruleset") == ""
