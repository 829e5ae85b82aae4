"""The network step beside the real NetworkManager and the real systemd-resolved, on a bus of the test's own.

Their packages take charge of the machine that they are installed on, so the tests do not ask for them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.vm.apply.test_network import INPUTS, IPV6
from tests.support.bus import Bus, program
from tests.support.netns import InNamespace, Network, until
from vminterface.vm.apply import network, provider
from vminterface.vm.net import networkmanager, resolvers

CONFIGURATION = """
[main]
plugins=keyfile
dns=none
rc-manager=unmanaged
auth-polkit=false
[keyfile]
path={folder}
"""


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    for name in ("dbus-daemon", "busctl"):
        if shutil.which(name) is None:
            pytest.skip(f"the program {name} is not installed")
    with Network(tmp_path) as net:
        machine = net.add("vm")
        machine.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "backend"])
        machine.run(["ip", "link", "set", "backend", "up"])
        yield Bus(net, machine, monkeypatch)


def connections(vm: InNamespace) -> dict[str, str]:
    """Which connection is active on which interface."""
    shown = vm.run(["nmcli", "--terse", "--fields", "DEVICE,NAME", "connection", "show", "--active"]).decode()
    return dict(line.split(":", 1) for line in shown.splitlines())


@pytest.mark.allow_skip
def test_network_manager_does_what_its_keyfile_says(bus: Bus, tmp_path: Path) -> None:
    if (daemon := program("NetworkManager")) is None or shutil.which("nmcli") is None:
        pytest.skip("NetworkManager is not installed here; its package would take charge of this machine's network")
    vm = bus.machine
    folder = Path(vm.path(networkmanager.FOLDER))
    folder.mkdir(parents=True)
    (tmp_path / "nm.conf").write_text(CONFIGURATION.format(folder=folder))
    nothing = f"{tmp_path}/nothing"
    bus.daemon(
        "org.freedesktop.NetworkManager", daemon, "--no-daemon", f"--config={tmp_path}/nm.conf",
        f"--config-dir={nothing}", f"--system-config-dir={nothing}", f"--intern-config={nothing}",
        f"--state-file={tmp_path}/nm.state",
    )  # fmt: skip
    vm.touch("/run/qubes-service/network-manager")

    assert network.apply(INPUTS | IPV6, vm).endswith(" through NetworkManager")
    assert connections(vm)["eth0"] == "VM uplink eth0"
    until(lambda: vm.addresses() == {"10.137.0.12/32", "fd09:24ef:4179::a89:c/128"})
    assert ("default", "10.137.0.5", "eth0") in vm.routes("-4")
    assert ("default", "fd09:24ef:4179::a89:5", "eth0") in vm.routes("-6")
    assert ("10.137.0.5", "fe:ff:ff:ff:ff:ff") in vm.neighbours()

    # An address that changes while the connection is active is taken over at once, and nothing is done twice.
    network.apply(INPUTS | {"network:ip": "10.137.0.13"}, vm)
    until(lambda: vm.addresses() == {"10.137.0.13/32"})
    vm.fails = lambda argv: argv[0] == "nmcli" and ("up" in argv or "load" in argv)
    network.apply(INPUTS | {"network:ip": "10.137.0.13"}, vm)
    vm.fails = lambda argv: False

    network.apply({}, vm)
    until(lambda: "VM uplink eth0" not in connections(vm).values())
    assert "10.137.0.13/32" not in vm.addresses()


@pytest.mark.allow_skip
@pytest.mark.parametrize("hidden", [set(), {"busctl"}], ids=["busctl", "resolvectl"])
def test_systemd_resolved_is_told_of_a_links_resolvers_and_asked_for_its_own(bus: Bus, hidden: set[str]) -> None:
    if (daemon := program("systemd-resolved")) is None or shutil.which("resolvectl") is None:
        pytest.skip("systemd-resolved is not installed here; its package would take /etc/resolv.conf over")
    vm = bus.machine
    bus.daemon("org.freedesktop.resolve1", daemon)
    until(lambda: resolvers.resolved_is_in_work(vm))
    vm.hidden = hidden
    before = resolvers.stamp(vm)
    network.apply(INPUTS, vm)
    assert resolvers.of_link(vm, "eth0") == ["10.139.1.1", "10.139.1.2"]
    until(lambda: [str(a) for a in resolvers.current(vm)] == ["10.139.1.1", "10.139.1.2"])
    until(lambda: resolvers.stamp(vm) != before)
    vm.fails = lambda argv: list(argv[:2]) == ["resolvectl", "dns"] and len(argv) > 3
    network.apply(INPUTS, vm)
    vm.fails = lambda argv: False

    network.apply({**INPUTS, "network:dns_search": "corp.example.org example.org"}, vm)
    assert resolvers.search_of_link(vm, "eth0") == ["corp.example.org", "example.org"]
    network.apply(INPUTS, vm)
    assert resolvers.search_of_link(vm, "eth0") == []

    note = provider.apply({"provides_network:gateway": "10.137.0.9"}, vm)
    assert "go to 10.139.1.1, 10.139.1.2" in note

    network.apply({}, vm)
    vm.run(["ip", "link", "set", "eth0", "up"])
    assert resolvers.of_link(vm, "eth0") == []
