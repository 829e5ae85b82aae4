"""The network step on a real interface: a pair of virtual Ethernet ends in a network namespace of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.netns import InNamespace, namespace, need_pyroute2
from vminterface.errors import InvalidValue, ProgramFailed, VMInterfaceError
from vminterface.vm.apply import network
from vminterface.vm.machine.machine import Machine
from vminterface.vm.net import link, resolvers
from vminterface.vm.net.linkstate import Link

INPUTS = {
    "network:ip": "10.137.0.12",
    "network:netmask": "255.255.255.255",
    "network:gateway": "10.137.0.5",
    "network:primary_dns": "10.139.1.1",
    "network:secondary_dns": "10.139.1.2",
}
IPV6 = {"network:ip6": "fd09:24ef:4179::a89:c", "network:gateway6": "fd09:24ef:4179::a89:5"}
RESOLV_CONF = "nameserver 10.139.1.1\nnameserver 10.139.1.2\n"


@pytest.fixture(params=["iproute2", "pyroute2"])
def vm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[InNamespace]:
    """A VM, spoken to in each of the two ways."""
    if request.param == "pyroute2":
        need_pyroute2()
    with namespace(tmp_path / "vm") as machine:
        machine.by_pyroute2 = request.param == "pyroute2"
        yield machine


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The steps that were taken, change by change."""
    taken: list[list[str]] = []
    do = link._do

    def note(machine: Machine, steps: list[str], **options: bool) -> None:
        taken.append(steps)
        do(machine, steps, **options)

    monkeypatch.setattr(link, "_do", note)
    return taken


def test_an_interface_gets_address_gateway_neighbour_routes_and_resolvers(vm: InNamespace) -> None:
    note = network.apply(INPUTS, vm)
    assert note == "eth0: 10.137.0.12/32 via 10.137.0.5"
    assert vm.addresses() == {"10.137.0.12/32"}
    assert vm.routes() == {("10.137.0.5", "", "eth0"), ("default", "10.137.0.5", "eth0")}
    assert vm.neighbours() == {("10.137.0.5", "fe:ff:ff:ff:ff:ff")}
    assert vm.is_up()
    assert vm.group() == "1"
    assert vm.read_text("/etc/resolv.conf") == RESOLV_CONF


def test_ipv6_is_configured_beside_ipv4(vm: InNamespace) -> None:
    network.apply(INPUTS | IPV6, vm)
    assert vm.addresses() == {"10.137.0.12/32", "fd09:24ef:4179::a89:c/128"}
    assert vm.routes("-6") == {
        ("fd09:24ef:4179::a89:5", "", "eth0"),
        ("default", "fd09:24ef:4179::a89:5", "eth0"),
    }
    assert ("fd09:24ef:4179::a89:5", "fe:ff:ff:ff:ff:ff") in vm.neighbours()


def test_a_link_local_gateway_needs_no_route_of_its_own(vm: InNamespace) -> None:
    network.apply({**INPUTS, "network:ip6": "fd09::c", "network:gateway6": "fe80::1"}, vm)
    assert vm.routes("-6") == {("default", "fe80::1", "eth0")}


def test_more_resolvers_than_two_are_all_asked(vm: InNamespace) -> None:
    servers = ["10.139.1.1", "10.139.1.2", "10.139.1.3", "fd00::53"]
    network.apply({**INPUTS, "network:all_dns": " ".join(servers)}, vm)
    assert vm.read_text("/etc/resolv.conf") == "".join(f"nameserver {server}\n" for server in servers)
    network.apply(INPUTS, vm)
    assert vm.read_text("/etc/resolv.conf") == RESOLV_CONF


def test_resolvers_of_ipv6_alone_and_search_domains_are_in_resolv_conf(vm: InNamespace) -> None:
    servers = {"network:all_dns": "fd00::53 fd00::54", "network:dns_search": "corp.example.org example.org"}
    inputs = {field: text for field, text in INPUTS.items() if not field.endswith("_dns")}
    network.apply({**inputs, **IPV6, **servers}, vm)
    lines = ["search corp.example.org example.org", "nameserver fd00::53", "nameserver fd00::54"]
    assert vm.read_text("/etc/resolv.conf") == "".join(f"{line}\n" for line in lines)
    network.apply(INPUTS, vm)
    assert vm.read_text("/etc/resolv.conf") == RESOLV_CONF


RESOLVECTL = """#!/bin/sh
# Stands for resolvectl(1): shows and sets what one link has, an empty word for nothing.
[ "$1" = --no-pager ] && shift
file="{folder}/$1"
if [ $# -eq 2 ]; then echo "Link 2 ($2): $(cat "$file" 2>/dev/null)"; else shift 2; echo "$*" >"$file"; fi
"""


def test_systemd_resolved_is_given_the_search_domains_of_the_link_and_loses_them_again(
    vm: InNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "resolvectl").write_text(RESOLVECTL.format(folder=folder))
    (folder / "resolvectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    vm.write_file(resolvers.RESOLVED, "")
    domains = {"network:dns_search": "corp.example.org example.org"}
    network.apply({**INPUTS, **domains}, vm)
    assert resolvers.search_of_link(vm, "eth0") == ["corp.example.org", "example.org"]
    network.apply(INPUTS, vm)
    assert resolvers.search_of_link(vm, "eth0") == []
    network.apply({**INPUTS, **domains}, vm)
    network.apply({}, vm)
    assert resolvers.search_of_link(vm, "eth0") == []


def test_applying_twice_touches_nothing_the_second_time(vm: InNamespace, steps: list[list[str]]) -> None:
    network.apply(INPUTS | IPV6, vm)
    steps.clear()
    inode = (Path(vm.root) / "etc/resolv.conf").stat().st_ino
    network.apply(INPUTS | IPV6, vm)
    assert steps == []
    assert (Path(vm.root) / "etc/resolv.conf").stat().st_ino == inode


@pytest.mark.parametrize("netmask", ["255.255.255.255", "255.255.255.0"])
def test_a_new_address_takes_the_place_of_the_old_one_and_a_stranger_stays(vm: InNamespace, netmask: str) -> None:
    inputs = {**INPUTS, "network:netmask": netmask}
    network.apply(inputs, vm)
    vm.run(["ip", "address", "add", "192.168.7.7/24", "dev", "eth0"])
    vm.run(["ip", "route", "add", "172.16.0.0/12", "via", "192.168.7.1", "dev", "eth0", "metric", "50"])
    network.apply({**inputs, "network:ip": "10.137.0.13", "network:gateway": "10.137.0.6"}, vm)
    prefix = "32" if netmask.endswith("255.255") else "24"
    assert vm.addresses() == {f"10.137.0.13/{prefix}", "192.168.7.7/24"}
    assert vm.routes() == {
        ("10.137.0.6", "", "eth0"),
        ("default", "10.137.0.6", "eth0"),
        ("172.16.0.0/12", "192.168.7.1", "eth0"),
    }
    assert vm.neighbours() == {("10.137.0.6", "fe:ff:ff:ff:ff:ff")}


def test_a_bad_value_is_refused_with_all_faults_and_nothing_changes(vm: InNamespace) -> None:
    network.apply(INPUTS, vm)
    before = vm.everything()
    with pytest.raises(InvalidValue) as refused:
        network.apply({"network:ip": "10.137.0.300", "network:netmask": "255.0.255.0"}, vm)
    for field in ("ip", "netmask", "gateway"):
        assert f"{field}:" in str(refused.value)
    assert vm.everything() == before


def test_a_step_that_the_kernel_refuses_puts_everything_back(vm: InNamespace) -> None:
    network.apply(INPUTS, vm)
    vm.run(["ip", "link", "add", "eth1", "type", "veth", "peer", "name", "other"])
    vm.run(["ip", "link", "set", "eth1", "up"])
    vm.run(["ip", "-6", "route", "add", "default", "dev", "eth1", "metric", "1024"])
    vm.run(["ip", "address", "add", "10.9.9.9/32", "dev", "eth0"])
    # Two IPv6 default routes of the same metric may share the way; IPv4 ones may not.
    vm.run(["ip", "route", "del", "default"])
    vm.run(["ip", "route", "add", "default", "dev", "eth1"])
    before = vm.everything()
    with pytest.raises(VMInterfaceError, match="File exists"):
        network.apply({**INPUTS, "network:ip": "10.137.0.99", "network:gateway": "10.137.0.98"}, vm)
    assert vm.everything() == before


def test_a_resolv_conf_that_cannot_be_written_puts_the_interface_back(
    vm: InNamespace, steps: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    network.apply(INPUTS, vm)
    before = vm.everything()
    write_file = vm.write_file

    def full(path: str, data: str | bytes, mode: int = 0o644) -> None:
        if path == "/etc/resolv.conf":
            raise VMInterfaceError("/etc/resolv.conf: No space left on device")
        write_file(path, data, mode)

    monkeypatch.setattr(vm, "write_file", full)
    with pytest.raises(VMInterfaceError, match="No space left"):
        network.apply({**INPUTS, "network:ip": "10.137.0.13", "network:primary_dns": "10.139.1.9"}, vm)
    assert vm.everything() == before
    assert len(steps) == 3
    # The record is that of before too: what it names can still be taken away.
    monkeypatch.undo()
    network.apply({}, vm)
    assert vm.addresses() == set()


def test_a_link_is_changed_as_a_whole_or_not_at_all(vm: InNamespace) -> None:
    network.apply(INPUTS | IPV6, vm)
    before = vm.everything()
    desired = Link(True, frozenset({"10.0.0.1/24"}), frozenset({"10.0.0.9 scope link", "default via 192.0.2.1"}))
    with pytest.raises(VMInterfaceError):
        link.change(vm, "eth0", desired)
    assert vm.everything() == before


def test_a_default_route_of_another_tools_making_gives_way(vm: InNamespace) -> None:
    vm.run(["ip", "address", "add", "192.168.7.7/32", "dev", "eth0"])
    vm.run(["ip", "link", "set", "eth0", "up"])
    vm.run(["ip", "route", "add", "default", "via", "10.137.0.99", "dev", "eth0", "onlink"])
    vm.run(["ip", "route", "add", "default", "via", "10.137.0.98", "dev", "eth0", "onlink", "metric", "300"])
    network.apply(INPUTS, vm)
    assert vm.routes() == {
        ("10.137.0.5", "", "eth0"),
        ("default", "10.137.0.5", "eth0"),
        ("default", "10.137.0.98", "eth0"),
    }


def test_without_keys_what_was_configured_is_taken_away_and_the_link_goes_down(vm: InNamespace) -> None:
    network.apply(INPUTS | IPV6, vm)
    assert network.apply({}, vm) == "no network: eth0 is down"
    assert vm.addresses() == set()
    assert vm.routes() == set()
    assert not vm.is_up()
    assert vm.read_text("/etc/resolv.conf") == ""
    assert network.apply({}, vm) == "no network from dom0"
    network.apply(INPUTS | IPV6, vm)
    assert vm.is_up()
    assert vm.addresses() == {"10.137.0.12/32", "fd09:24ef:4179::a89:c/128"}


def test_an_interface_that_went_away_is_no_fault_when_the_network_is_taken_away(vm: InNamespace) -> None:
    network.apply(INPUTS, vm)
    vm.run(["ip", "link", "del", "eth0"])
    assert network.apply({}, vm) == "no network: eth0 is down"


def test_the_interface_is_found_by_its_mac_address(vm: InNamespace) -> None:
    vm.run(["ip", "link", "add", "uplink", "address", "00:16:3e:5e:6c:00", "type", "veth", "peer", "name", "b2"])
    network.apply({**INPUTS, "network:mac": "00:16:3E:5E:6C:00"}, vm)
    assert vm.addresses("uplink") == {"10.137.0.12/32"}
    assert vm.addresses("eth0") == set()


def test_a_configuration_moves_when_dom0_names_another_interface(vm: InNamespace) -> None:
    network.apply({**INPUTS, "network:mac": "00:16:3e:00:00:99"}, vm)
    assert vm.addresses("eth0") == {"10.137.0.12/32"}
    vm.run(["ip", "link", "add", "uplink", "address", "00:16:3e:00:00:99", "type", "veth", "peer", "name", "b2"])
    network.apply({**INPUTS, "network:mac": "00:16:3e:00:00:99"}, vm)
    assert vm.addresses("uplink") == {"10.137.0.12/32"}
    assert vm.addresses("eth0") == set()
    assert vm.routes() == {("10.137.0.5", "", "uplink"), ("default", "10.137.0.5", "uplink")}


def test_no_interface_is_a_clear_fault(vm: InNamespace) -> None:
    vm.run(["ip", "link", "del", "eth0"])
    with pytest.raises(VMInterfaceError, match="this VM has no interface eth0"):
        network.apply(INPUTS, vm)


def test_services_leave_out_the_default_route_and_the_resolvers(vm: InNamespace) -> None:
    vm.touch("/run/qubes-service/disable-default-route")
    vm.touch("/run/qubes-service/disable-dns-server")
    network.apply(INPUTS, vm)
    assert vm.routes() == {("10.137.0.5", "", "eth0")}
    assert vm.read_text("/etc/resolv.conf") == ""
    vm.remove("/run/qubes-service/disable-default-route")
    network.apply(INPUTS, vm)
    assert ("default", "10.137.0.5", "eth0") in vm.routes()


def test_a_protected_resolv_conf_stays(vm: InNamespace) -> None:
    vm.write_file("/rw/config/protected-files.d/mine", "/etc/resolv.conf\n")
    vm.write_file("/etc/resolv.conf", "nameserver 9.9.9.9\n")
    network.apply(INPUTS, vm)
    network.apply({}, vm)
    assert vm.read_text("/etc/resolv.conf") == "nameserver 9.9.9.9\n"


def test_a_resolv_conf_that_is_a_link_is_replaced_by_a_file(vm: InNamespace) -> None:
    vm.write_file("/run/stub.conf", "nameserver 127.0.0.53\n")
    vm.symlink("../run/stub.conf", "/etc/resolv.conf")
    network.apply(INPUTS, vm)
    assert vm.link_target("/etc/resolv.conf") is None
    assert vm.read_text("/etc/resolv.conf") == RESOLV_CONF
    assert vm.read_text("/run/stub.conf") == "nameserver 127.0.0.53\n"


def test_network_manager_gets_a_keyfile_where_it_is_in_charge(
    vm: InNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # NetworkManager is not here: what it is told, and with which file, is all that can be seen.
    tmp_path /= "vm"
    programs = tmp_path / "programs"
    programs.mkdir()
    told = tmp_path / "told"
    (programs / "nmcli").write_text(f'#!/bin/sh\necho "$*" >> {told}\ntest ! -e {tmp_path}/fail\n')
    (programs / "nmcli").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    vm.touch("/run/qubes-service/network-manager")
    keyfile = tmp_path / "etc/NetworkManager/system-connections/qubes-uplink-eth0"

    assert network.apply({**INPUTS, "network:netmask": "255.255.224.0"}, vm).endswith(" through NetworkManager")
    text = keyfile.read_text()
    assert keyfile.stat().st_mode & 0o777 == 0o600
    assert "address1=10.137.0.12/19,10.137.0.5\n" in text
    assert "dns=10.139.1.1;10.139.1.2;\n" in text
    assert f"mac-address={vm.ip('link', 'show', 'dev', 'eth0')[0]['address'].upper()}\n" in text
    assert "[ipv6]\nmethod=ignore\n" in text
    loaded, asked, up = told.read_text().splitlines()
    assert loaded == f"connection load {keyfile}"
    assert asked.endswith("connection show --active")
    assert up.endswith(text.partition("uuid=")[2].partition("\n")[0])
    assert vm.addresses() == set()
    assert vm.neighbours() == {("10.137.0.5", "fe:ff:ff:ff:ff:ff")}

    (tmp_path / "fail").touch()
    with pytest.raises(ProgramFailed, match="status 1"):
        network.apply({**INPUTS, "network:ip": "10.137.0.77"}, vm)
    assert keyfile.read_text() == text

    (tmp_path / "fail").unlink()
    network.apply({}, vm)
    assert not keyfile.exists()
