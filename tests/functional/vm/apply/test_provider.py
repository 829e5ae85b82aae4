"""A VM that provides network, on real parts: namespaces as VMs, nftables, dnsmasq as the resolvers, dig as a client."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.netns import SOON, InNamespace, Network, need_pyroute2, until
from tests.support.stores import need
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.vm.apply import network, provider
from vminterface.vm.machine.backends import Backend
from vminterface.vm.net import nft

GATEWAY = "10.137.0.5"
INPUTS = {
    "provides_network:gateway": GATEWAY,
    "provides_network:netmask": "255.255.255.255",
    "provides_network:network": GATEWAY,
    "provides_network:primary_dns": "10.139.1.1",
    "provides_network:secondary_dns": "10.139.1.2",
}
IPV6 = {"provides_network:gateway6": "fd09:24ef:4179::a89:5"}
ONE, TWO = "10.137.0.12", "10.137.0.13"
ONE6 = "fd09:24ef:4179::a89:c"
MAC = {"one": "00:16:3e:5e:6c:01", "two": "00:16:3e:5e:6c:02"}
TOLD = frozenset(Backend.parse(*one) for one in (("vif1.0", MAC["one"], ONE), ("vif2.0", MAC["two"], TWO)))
TOLD6 = frozenset(Backend.parse(*one) for one in (("vif1.0", MAC["one"], f"{ONE} {ONE6}"), ("vif2.0", MAC["two"], TWO)))
ONLY_ONE = frozenset(one for one in TOLD if one.vif.domid == 1)
OUTSIDE, OUTSIDE6 = "192.0.2.1", "2001:db8::1"
RESOLVERS = ("192.0.2.53", "192.0.2.54")

#: Prints where what came to a socket came from: who sends, as the other side sees it.
_ECHO = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
if sys.argv[1] == "tcp":
    listening = socket.create_server((sys.argv[2], int(sys.argv[3])), family=family)
    print("ready", flush=True)
    while True:
        peer, address = listening.accept()
        peer.sendall(address[0].encode())
        peer.close()
heard = socket.socket(family, socket.SOCK_DGRAM)
heard.bind((sys.argv[2], int(sys.argv[3])))
print("ready", flush=True)
while True:
    data, address = heard.recvfrom(100)
    print(address[0], flush=True)
    heard.sendto(address[0].encode(), address)
"""
_ASK = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
with socket.socket(family, socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM) as asking:
    asking.settimeout(1.0)
    if len(sys.argv) > 4:
        asking.bind((sys.argv[4], 0))
    try:
        asking.connect((sys.argv[2], int(sys.argv[3])))
        asking.send(b"x")
        print(asking.recv(100).decode())
    except OSError as error:
        print(type(error).__name__)
"""


class Scene:
    """Who is there: ``outside`` with the resolvers, ``provider``, and the clients ``one`` and ``two``."""

    def __init__(self, net: Network) -> None:
        self.net = net
        self.provider, self.outside, self.one, self.two = map(net.add, ("provider", "outside", "one", "two"))
        net.join(self.provider, "eth0", self.outside, "eth0")
        for address in (f"{OUTSIDE}/24", *(f"{r}/24" for r in RESOLVERS), f"{OUTSIDE6}/64"):
            self.outside.run(["ip", "address", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else [])])
        self.outside.run(["ip", "link", "set", "eth0", "up"])
        for words in (["192.0.2.2/24"], ["2001:db8::2/64", "nodad"]):
            self.provider.run(["ip", "address", "add", *words, "dev", "eth0"])
        self.provider.run(["ip", "link", "set", "eth0", "up"])
        self.provider.run(["ip", "route", "add", "default", "via", OUTSIDE])
        for number, (name, ip) in enumerate((("one", ONE), ("two", TWO)), 1):
            self.plug(name, ip, number)
        self.resolvers(*RESOLVERS)
        for address, reply in zip(RESOLVERS, ("203.0.113.1", "203.0.113.2"), strict=True):
            self.serve(address, reply)

    def serve(self, address: str, reply: str) -> None:
        """Let a resolver answer at *address* of those outside."""
        log = self.net.folder / f"dnsmasq-{address}"
        words = [f"--listen-address={address}", f"--host-record=name.example,{reply}"]
        self.net.start(
            self.outside,
            ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
             "--pid-file=", "--except-interface=lo", *words],
            log,
        )  # fmt: skip
        until(lambda: "started" in log.read_text())

    def plug(self, name: str, ip: str, domid: int) -> None:
        """Connect a client, as the toolstack does, and let it configure its end."""
        client: InNamespace = getattr(self, name)
        self.net.join(self.provider, f"vif{domid}.0", client, "eth0", MAC[name], network.GATEWAY_MAC)
        inputs = {"ip": ip, "gateway": GATEWAY, "primary_dns": "10.139.1.1", "secondary_dns": "10.139.1.2"}
        if ip == ONE:
            inputs |= {"ip6": ONE6, "gateway6": IPV6["provides_network:gateway6"]}
        network.apply({f"network:{field}": text for field, text in inputs.items()}, client)

    def resolvers(self, *addresses: str) -> None:
        """Let the provider's own resolvers be these."""
        self.provider.write_file("/etc/resolv.conf", "".join(f"nameserver {a}\n" for a in addresses))

    def provide(self, inputs: dict[str, str] = INPUTS, told: frozenset[Backend] = TOLD) -> str:
        return provider.apply(inputs, self.provider, by_toolstack=told)

    def dig(self, server: str, *options: str, client: InNamespace | None = None) -> str:
        """What a client hears from *server*, empty for nothing."""
        words = ["dig", "+short", "+tries=1", "+time=1", *options, f"@{server}", "name.example", "A"]
        done = subprocess.run((client or self.one).inside(words), capture_output=True, text=True, timeout=SOON)
        return done.stdout.strip() if done.returncode == 0 else ""

    def hear(self, machine: InNamespace, protocol: str, address: str, port: int) -> Path:
        """Let *machine* tell everybody who asks at *port* under which address it sees them; return the log."""
        log = self.net.folder / f"heard-{protocol}-{port}"
        self.net.start(machine, ["python3", "-I", "-c", _ECHO, protocol, address, str(port)], log)
        until(lambda: "ready" in log.read_text())
        return log

    def ask(self, machine: InNamespace, protocol: str, address: str, port: int, source: str = "") -> str:
        return machine.python(_ASK, protocol, address, str(port), *([source] if source else []))

    def count(self, chain: str, family: str = "ip") -> int:
        """How many packets the counters of *chain* have seen."""
        shown = json.loads(self.provider.run(["nft", "-j", "list", "chain", family, "qubes", chain]))["nftables"]
        parts = [part for entry in shown if "rule" in entry for part in entry["rule"]["expr"]]
        return sum(part["counter"]["packets"] for part in parts if "counter" in part)

    def forwards(self, family: str = "ip") -> bool:
        return self.provider.run(["cat", provider.FORWARDING[family]]) == b"1\n"

    def tables(self) -> str:
        """Every rule in the provider's kernel, without what its counters have seen."""
        return self.provider.run(["nft", "-s", "list", "ruleset"]).decode()

    def holds(self) -> tuple[object, ...]:
        """Everything of the provider that a change may touch."""
        vifs = {
            entry["ifname"]: (
                entry["group"],
                {f"{a['local']}/{a['prefixlen']}" for a in entry["addr_info"] if a["scope"] != "link"},
            )
            for entry in self.provider.ip("address", "show")
            if entry["ifname"].startswith("vif")
        }
        neighbours = self.provider.ip("neighbour", "show", "nud", "permanent")
        return (
            self.tables(), self.forwards(), self.forwards("ip6"), self.provider.read_text(provider.STATE), vifs,
            {(n["dev"], n["dst"], n["lladdr"]) for n in neighbours if n["dev"] in vifs},
            self.provider.routes("-4"), self.provider.routes("-6"),
        )  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    for program in ("nft", "dnsmasq", "dig", "ip"):
        if shutil.which(program) is None:
            need(f"the program {program} is not installed here")
    with Network(tmp_path) as net:
        yield Scene(net)


def test_names_are_asked_of_the_real_resolvers_over_udp_and_tcp(scene: Scene) -> None:
    assert scene.dig("10.139.1.1") == ""
    note = scene.provide()
    assert note == "gateway 10.137.0.5; DNS requests go to 192.0.2.53, 192.0.2.54; 2 clients"
    for options in ((), ("+tcp",)):
        assert scene.dig("10.139.1.1", *options) == "203.0.113.1"
        assert scene.dig("10.139.1.2", *options) == "203.0.113.2"
    assert scene.dig("10.139.1.1", client=scene.two) == "203.0.113.1"


def test_one_resolver_serves_both_addresses(scene: Scene) -> None:
    scene.resolvers(RESOLVERS[1])
    scene.provide()
    assert scene.dig("10.139.1.1") == scene.dig("10.139.1.2") == "203.0.113.2"


@pytest.mark.parametrize("lines", [(), ("127.0.0.53",), ("fe80::1%eth0",)])
def test_without_a_resolver_requests_are_dropped(scene: Scene, lines: tuple[str, ...]) -> None:
    scene.provide()
    scene.resolvers(*lines)
    assert "go to nobody" in scene.provide()
    # Where the addresses led to somebody without the rule, so that only the rule can be why nobody answers.
    scene.outside.run(["ip", "address", "add", "10.139.1.1/32", "dev", "eth0"])
    log = scene.hear(scene.outside, "udp", "10.139.1.1", 53)
    assert scene.dig("10.139.1.1") == ""
    assert scene.dig("10.139.1.1", "+tcp") == ""
    assert log.read_text() == "ready\n"
    scene.resolvers(*RESOLVERS)
    scene.provide()
    assert scene.dig("10.139.1.1") == "203.0.113.1"


def test_other_ports_of_the_addresses_for_names_are_left_alone(scene: Scene) -> None:
    scene.provide()
    scene.outside.run(["ip", "address", "add", "10.139.1.1/32", "dev", "eth0"])
    scene.hear(scene.outside, "tcp", "10.139.1.1", 853)
    assert scene.ask(scene.one, "tcp", "10.139.1.1", 853) == "192.0.2.2"


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_clients_go_out_under_the_providers_address(scene: Scene, protocol: str) -> None:
    scene.hear(scene.outside, protocol, OUTSIDE, 7000)
    assert scene.ask(scene.one, protocol, OUTSIDE, 7000) in ("TimeoutError", "OSError", "ConnectionRefusedError")
    scene.provide()
    assert scene.ask(scene.one, protocol, OUTSIDE, 7000) == "192.0.2.2"
    assert scene.ask(scene.two, protocol, OUTSIDE, 7000) == "192.0.2.2"


def test_ipv6_is_forwarded_where_dom0_gives_a_gateway(scene: Scene) -> None:
    scene.hear(scene.outside, "tcp", OUTSIDE6, 7000)
    scene.provide(INPUTS, TOLD6)
    assert not scene.forwards("ip6")
    assert scene.ask(scene.one, "tcp", OUTSIDE6, 7000) == "TimeoutError"
    scene.provide(INPUTS | IPV6, TOLD6)
    assert scene.forwards("ip6")
    assert scene.ask(scene.one, "tcp", OUTSIDE6, 7000) == "2001:db8::2"
    scene.provide(INPUTS, TOLD6)
    assert not scene.forwards("ip6")


def test_a_source_that_is_not_the_clients_is_dropped_and_counted(scene: Scene) -> None:
    scene.provide()
    log = scene.hear(scene.outside, "udp", OUTSIDE, 7000)
    for stranger in (TWO, "10.99.0.1", "192.0.2.77"):
        before = scene.count("antispoof")
        scene.one.run(["ip", "address", "add", f"{stranger}/32", "dev", "eth0"])
        assert scene.ask(scene.one, "udp", OUTSIDE, 7000, stranger) == "TimeoutError"
        assert scene.count("antispoof") > before
    assert log.read_text() == "ready\n"
    assert scene.ask(scene.one, "udp", OUTSIDE, 7000, ONE) == "192.0.2.2"


def test_a_client_is_not_believed_from_outside(scene: Scene) -> None:
    scene.provide()
    log = scene.hear(scene.provider, "udp", "192.0.2.2", 7001)
    scene.provider.run(["nft", "add", "rule", "ip", "qubes", "custom-input", "udp", "dport", "7001", "accept"])
    assert scene.ask(scene.outside, "udp", "192.0.2.2", 7001) == OUTSIDE
    scene.outside.run(["ip", "address", "add", f"{ONE}/32", "dev", "eth0"])
    before = scene.count("prerouting")
    assert scene.ask(scene.outside, "udp", "192.0.2.2", 7001, ONE) == "TimeoutError"
    assert scene.count("prerouting") == before + 1
    assert log.read_text() == f"ready\n{OUTSIDE}\n"


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_clients_do_not_reach_each_other(scene: Scene, protocol: str) -> None:
    scene.provide()
    scene.hear(scene.two, protocol, TWO, 7000)
    before = scene.count("forward")
    assert scene.ask(scene.one, protocol, TWO, 7000) == "TimeoutError"
    assert scene.count("forward") > before
    # The way there is good: the provider itself gets an answer.
    assert scene.ask(scene.provider, protocol, TWO, 7000) == GATEWAY


def test_nobody_outside_reaches_a_client_that_has_not_asked(scene: Scene) -> None:
    scene.provide()
    scene.outside.run(["ip", "route", "add", f"{ONE}/32", "via", "192.0.2.2"])
    scene.hear(scene.one, "tcp", ONE, 7000)
    before = scene.count("forward")
    assert scene.ask(scene.outside, "tcp", ONE, 7000) == "TimeoutError"
    assert scene.count("forward") > before


def test_a_client_may_ping_the_provider_and_do_nothing_else_to_it(scene: Scene) -> None:
    scene.provide()
    scene.hear(scene.provider, "tcp", "0.0.0.0", 7002)
    assert scene.ask(scene.one, "tcp", GATEWAY, 7002) in ("OSError", "ConnectionRefusedError")
    assert scene.ask(scene.outside, "tcp", "192.0.2.2", 7002) == "TimeoutError"


def test_a_clients_interface_that_has_just_appeared_is_closed_until_it_is_known(scene: Scene) -> None:
    scene.provide(INPUTS, ONLY_ONE)
    scene.hear(scene.outside, "udp", OUTSIDE, 7000)
    scene.provider.run(["ip", "link", "set", "vif2.0", "up"])
    scene.provider.run(["ip", "route", "add", TWO, "dev", "vif2.0"])
    assert scene.provider.group("vif2.0") == "0"
    assert scene.ask(scene.two, "udp", OUTSIDE, 7000) == "TimeoutError"
    scene.hear(scene.two, "udp", TWO, 7003)
    assert scene.ask(scene.one, "udp", TWO, 7003) == "TimeoutError"
    scene.provider.run(["ip", "route", "del", TWO, "dev", "vif2.0"])
    scene.provide()
    assert scene.ask(scene.two, "udp", OUTSIDE, 7000) == "192.0.2.2"


@pytest.mark.parametrize("by", ["iproute2", "pyroute2"])
def test_each_clients_interface_has_the_way_to_it_and_the_way_back(scene: Scene, by: str) -> None:
    if by == "pyroute2":
        need_pyroute2()
        scene.provider.by_pyroute2 = True
    scene.provide(INPUTS | IPV6, TOLD6)
    provider_vm = scene.provider
    assert provider_vm.addresses("vif1.0") == {f"{GATEWAY}/32", "fd09:24ef:4179::a89:5/128"}
    assert provider_vm.neighbours("vif1.0") == {(ONE, MAC["one"]), (ONE6, MAC["one"])}
    assert {(ONE, "", "vif1.0"), (TWO, "", "vif2.0")} <= provider_vm.routes("-4")
    assert [r["metric"] for r in provider_vm.ip("route", "show", "dev", "vif2.0")] == [provider.METRIC - 2]
    assert provider_vm.group("vif1.0") == provider_vm.group("vif2.0") == "2"
    assert provider_vm.is_up("vif2.0")
    found = nft.read(provider_vm, "ip")
    assert {(name, str(ip)) for name, ip in found.allowed} == {("vif1.0", ONE), ("vif2.0", TWO)}
    assert {str(ip) for ip in found.downstream} == {ONE, TWO}


def test_what_dom0_says_of_clients_goes_before_what_the_toolstack_says(scene: Scene) -> None:
    scene.provide(INPUTS | {"provides_network:connected": f"{ONE},{MAC['one']}"})
    found = nft.read(scene.provider, "ip")
    assert {(name, str(ip)) for name, ip in found.allowed} == {("vif1.0", ONE)}
    assert scene.dig("10.139.1.1") == "203.0.113.1"
    assert scene.dig("10.139.1.1", client=scene.two) == ""
    # Where the toolstack knows no address, the MAC address tells which interface it is.
    by_mac = frozenset(Backend.parse(f"vif{n}.0", MAC[name], "") for n, name in ((1, "one"), (2, "two")))
    scene.provide(INPUTS | {"provides_network:connected": f"{TWO},{MAC['two']}"}, by_mac)
    assert scene.dig("10.139.1.1") == ""
    assert scene.dig("10.139.1.1", client=scene.two) == "203.0.113.1"
    scene.provide(INPUTS, frozenset())
    assert scene.dig("10.139.1.1", client=scene.two) == ""
    scene.provide(INPUTS | {"provides_network:connected": f"{ONE},,vif1.0 {TWO},,vif2.0"}, frozenset())
    assert scene.dig("10.139.1.1", client=scene.two) == "203.0.113.1"


def test_a_client_that_went_away_leaves_nothing_behind_and_may_come_back(scene: Scene) -> None:
    scene.provide()
    scene.provider.run(["ip", "link", "del", "vif2.0"])
    assert scene.provide().endswith("; 1 of 2 clients are connected")
    scene.provide(INPUTS, ONLY_ONE)
    assert {str(ip) for ip in nft.read(scene.provider, "ip").downstream} == {ONE}
    scene.plug("two", TWO, 7)
    scene.provide(INPUTS, ONLY_ONE | {Backend.parse("vif7.0", MAC["two"], TWO)})
    assert scene.dig("10.139.1.1", client=scene.two) == "203.0.113.1"


def test_a_new_client_does_not_inherit_the_flows_of_who_had_its_address(scene: Scene) -> None:
    if shutil.which("conntrack") is None:
        need("the program conntrack is not installed here")
    scene.provide()
    scene.hear(scene.outside, "udp", OUTSIDE, 7000)
    assert scene.ask(scene.two, "udp", OUTSIDE, 7000) == "192.0.2.2"
    known = ["conntrack", "-L", "-s", TWO]
    assert "dport=7000" in scene.provider.run(known).decode()
    scene.provide()
    assert "dport=7000" in scene.provider.run(known).decode()
    scene.provider.run(["ip", "link", "del", "vif2.0"])
    scene.plug("two", TWO, 7)
    scene.provide(INPUTS, ONLY_ONE | {Backend.parse("vif7.0", MAC["two"], TWO)})
    assert "dport=7000" not in scene.provider.run(known).decode()


def test_the_second_time_nothing_is_touched(scene: Scene) -> None:
    scene.provide(INPUTS | IPV6, TOLD6)
    scene.dig("10.139.1.1")
    before = scene.tables(), scene.holds()
    # Whatever could change something is not even tried.
    scene.provider.fails = is_change
    scene.provide(INPUTS | IPV6, TOLD6)
    assert (scene.tables(), scene.holds()) == before


def test_a_firewall_that_somebody_emptied_is_loaded_again(scene: Scene) -> None:
    scene.provide()
    scene.provider.run(["nft", "flush", "chain", "ip", "qubes", "antispoof"])
    scene.provide()
    assert "counter" in scene.provider.run(["nft", "list", "chain", "ip", "qubes", "antispoof"]).decode()
    scene.provider.run(["nft", "flush", "ruleset"])
    scene.provide()
    assert scene.dig("10.139.1.1") == "203.0.113.1"


def test_an_admins_own_rules_stay_whatever_comes(scene: Scene) -> None:
    scene.provide()
    for chain in nft.CUSTOM:
        scene.provider.run(["nft", "add", "rule", "ip", "qubes", chain, "tcp", "dport", "7777", "counter", "accept"])
    scene.provider.run(["nft", "add", "table", "inet", "mine"])
    scene.resolvers(RESOLVERS[0])
    scene.provide()
    assert scene.tables().count("tcp dport 7777") == 2
    scene.provide({})
    assert scene.tables().count("tcp dport 7777") == 2
    assert "hook" not in scene.tables()
    assert "table inet mine" in scene.tables()
    assert "ip6" not in scene.tables()
    scene.provide()
    assert scene.tables().count("tcp dport 7777") == 2
    assert scene.dig("10.139.1.1") == "203.0.113.1"


def test_without_keys_forwarding_is_off_and_all_of_it_is_gone(scene: Scene) -> None:
    assert scene.provide({}) == "provides no network"
    clean = scene.holds()
    scene.provide(INPUTS | IPV6, TOLD6)
    assert scene.provide({}) == "provides no network: forwarding is off"
    assert not scene.forwards()
    assert not scene.forwards("ip6")
    assert scene.tables() == ""
    assert scene.holds()[:4] == clean[:4]
    assert scene.provider.routes("-4") == {("default", OUTSIDE, "eth0")}
    assert scene.provider.neighbours("vif1.0") == set()
    assert scene.dig("10.139.1.1") == ""
    assert scene.provide({}) == "provides no network"


@pytest.mark.parametrize(
    "inputs",
    [
        {"provides_network:primary_dns": "10.139.1.1", "provides_network:secondary_dns": "10.139.1.2"},
        {**INPUTS, "provides_network:gateway": "10.137.0.500"},
        {**INPUTS, "provides_network:connected": f"{GATEWAY},,vif1.0"},
        {**INPUTS, "provides_network:connected": f"{ONE},,eth0"},
    ],
)
def test_keys_that_are_not_whole_are_refused_and_nothing_changes(scene: Scene, inputs: dict[str, str]) -> None:
    for told in (False, True):
        before = scene.holds()
        with pytest.raises(InvalidValue):
            scene.provide(inputs)
        assert scene.holds() == before
        if not told:
            scene.provide()


def is_change(argv: Sequence[str]) -> bool:
    """Whether the program of these words could change something."""
    return argv[0] == "tee" or list(argv[:2]) == ["nft", "-f"] or "-batch" in argv


@pytest.mark.parametrize("late", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("earlier", [None, INPUTS | IPV6], ids=["from-nothing", "from-a-provider"])
def test_whatever_fails_there_is_no_forwarding_without_the_firewall(
    scene: Scene, earlier: dict[str, str] | None, late: bool
) -> None:
    """The first program that is run fails, then the second, and so on; *late*: it says so, but has done its work."""
    if earlier is not None:
        scene.provide(earlier, ONLY_ONE)
        scene.resolvers(RESOLVERS[0])
    before = scene.holds()
    desired = INPUTS | IPV6 | {"provides_network:secondary_dns": "10.139.1.3"}
    failed = 0
    while True:
        assert failed < 100, "it never comes to an end"
        calls = 0

        def fails(argv: Sequence[str], at: int = failed + 1) -> bool:
            nonlocal calls
            # What conntrack cannot forget ends by itself: no fault.
            counts = is_change(argv) or (not late and argv[0] != "conntrack")
            calls += counts
            return counts and calls == at

        scene.provider.fails, scene.provider.late = fails, late
        try:
            scene.provide(desired, TOLD6)
            break
        except VMInterfaceError:
            failed += 1
        finally:
            scene.provider.fails = lambda argv: False
        assert_closed(scene)
        different = [(now, former) for now, former in zip(scene.holds(), before, strict=True) if now != former]
        # Only forwarding may be less than it was: where nobody could tell whether the firewall is there.
        assert all(now is False for now, _ in different), (failed, different)
        if different:
            scene.provider.run(["tee", provider.FORWARDING["ip"]], input=b"1")
            scene.provider.run(["tee", provider.FORWARDING["ip6"]], input=b"1")
            assert scene.holds() == before
    assert_closed(scene)
    assert scene.dig("10.139.1.3")
    assert failed >= (3 if late else 20)


def assert_closed(scene: Scene) -> None:
    for family in nft.FAMILIES:
        if scene.forwards(family):
            shown = scene.provider.run(["nft", "-s", "list", "table", family, "qubes"]).decode()
            for line in ("goto antispoof", "policy drop", 'oifname "vif*" counter drop', "@allowed accept"):
                assert line in shown
