"""Packets to a provider and through it, each as the stock rules of Qubes have it: taken, dropped, or refused with ICMP.

What the stock rules do is written here in words, packet by packet; the rules that the packets meet are ours, in the
kernel's nftables.
"""

from __future__ import annotations

import json

import pytest

from tests.functional.vm.apply.test_provider import (
    GATEWAY,
    INPUTS,
    IPV6,
    ONE,
    ONE6,
    OUTSIDE,
    OUTSIDE6,
    TOLD6,
    Scene,
    scene,
)
from tests.support.netns import SOON, until

__all__ = ["scene"]

#: Link-local addresses of the uplink's two ends.
NEAR, FAR = "fe80::2", "fe80::1"
PROVIDER, PROVIDER6 = "192.0.2.2", "2001:db8::2"

#: Prints a line for each ICMP message and each datagram to one of the ports that came through: family, kind, sender.
_HEAR = """
import select, socket, sys
sockets = {}
for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, socket.IPPROTO_ICMPV6)):
    sockets[socket.socket(family, socket.SOCK_RAW, protocol)] = (family, None)
    for port in (68, 546, 9999):
        one = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(("", port))
        sockets[one] = (family, port)
print("ready", flush=True)
while True:
    for one in select.select(list(sockets), [], [])[0]:
        data, address = one.recvfrom(2000)
        family, port = sockets[one]
        kind = f"udp {port}" if port else f"icmp {data[20 if family == socket.AF_INET else 0]}"
        print("4" if family == socket.AF_INET else "6", kind, address[0].partition("%")[0], flush=True)
"""
#: Sends one datagram or ICMP message; prints what a refusal of it by ICMP is to its sender.
_SEND = """
import select, socket, struct, sys
kind, number, source, target = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
family = socket.AF_INET6 if ":" in target else socket.AF_INET
scope = socket.if_nametoindex("eth0") if target.startswith(("fe80", "ff02")) else 0
address = (target, number if kind == "udp" else 0, 0, scope) if family == socket.AF_INET6 else (target, number)
protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
if kind == "udp":
    sending = socket.socket(family, socket.SOCK_DGRAM)
else:
    sending = socket.socket(family, socket.SOCK_RAW, protocol)
sending.bind((source, 0, 0, scope if source.startswith("fe80") else 0) if family == socket.AF_INET6 else (source, 0))
if family == socket.AF_INET6:
    for option in (socket.IPV6_UNICAST_HOPS, socket.IPV6_MULTICAST_HOPS):
        sending.setsockopt(socket.IPPROTO_IPV6, option, 255)
    if scope:
        sending.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, scope)
if kind == "udp":
    sending.connect(address)
    sending.send(b"x")
    sending.settimeout(0.5)
    try:
        sending.recv(10)
    except TimeoutError:
        print("nothing")
    except OSError as error:
        print(error.errno)
else:
    body = bytes(4) + bytes(20)
    message = struct.pack(">BBH", number, 0, 0) + body
    if family == socket.AF_INET:
        total = sum(struct.unpack(f">{len(message) // 2}H", message))
        total = (total & 0xFFFF) + (total >> 16)
        message = struct.pack(">BBH", number, 0, 0xFFFF - total) + body
    sending.sendto(message, address[:1] + (0,) + address[2:])
    print("sent")
"""
ECHO4, ECHO6, QUERY, REPORT, SOLICIT, ADVERT, NEIGHBOUR, REDIRECT = 8, 128, 130, 131, 133, 134, 135, 137
NOTHING, TAKEN, REFUSED4, REFUSED6 = "dropped", "taken", "113", "13"


class Heard:
    """What the provider's programs get of packets that others send."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        for machine, address in ((scene.provider, NEAR), (scene.outside, FAR)):
            machine.run(["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
        scene.provide(INPUTS | IPV6, TOLD6)
        self.log = scene.net.folder / "heard"
        scene.net.start(scene.provider, ["python3", "-I", "-c", _HEAR], self.log)
        until(lambda: "ready" in self.log.read_text())

    def outcome(self, sender: str, kind: str, number: int, source: str, target: str) -> str:
        """What becomes of a packet: taken, dropped, or the error that a refusal is to its sender."""
        line = f"{'6' if ':' in target else '4'} {kind} {number} {source}"
        machine = getattr(self.scene, sender)
        said = machine.run(["python3", "-I", "-c", _SEND, kind, str(number), source, target], timeout=SOON).decode()
        # The provider hears the packets of one sender in their order: after this one, nothing is on its way.
        marker = (ONE, GATEWAY) if sender == "one" else (OUTSIDE, PROVIDER)
        before = self.log.read_text().count(f"4 udp 9999 {marker[0]}")
        words = ["python3", "-I", "-c", _SEND, "udp", "9999", *marker]
        rule = ["udp", "dport", "9999", "accept"]
        self.scene.provider.run(["nft", "insert", "rule", "ip", "qubes", "custom-input", *rule])
        machine.run(words, timeout=SOON)
        self.scene.provider.run(["nft", "flush", "chain", "ip", "qubes", "custom-input"])
        until(lambda: self.log.read_text().count(f"4 udp 9999 {marker[0]}") > before)
        if line in self.log.read_text():
            return TAKEN
        return said.strip() if kind == "udp" and said.strip() != "nothing" else NOTHING


@pytest.fixture
def heard(scene: Scene) -> Heard:
    return Heard(scene)


def check(heard: Heard, packets: list[tuple[str, str, int, str, str, str]]) -> None:
    found = {packet[:5]: heard.outcome(*packet[:5]) for packet in packets}
    assert found == {packet[:5]: packet[5] for packet in packets}


def test_ipv6_from_the_uplink(heard: Heard) -> None:
    """Taken are all ICMPv6 and replies of DHCPv6 between link-local addresses; nothing else that no flow knows.

    A redirect that is about no flow is invalid in the kernel's eyes, and dropped as that.
    """
    check(
        heard,
        [
            ("outside", "udp", 546, FAR, NEAR, TAKEN),
            ("outside", "udp", 546, OUTSIDE6, PROVIDER6, NOTHING),
            ("outside", "udp", 9999, FAR, NEAR, NOTHING),
            ("outside", "icmp", ECHO6, OUTSIDE6, PROVIDER6, TAKEN),
            ("outside", "icmp", QUERY, FAR, "ff02::1", TAKEN),
            ("outside", "icmp", REPORT, FAR, "ff02::1", TAKEN),
            ("outside", "icmp", ADVERT, FAR, "ff02::1", TAKEN),
            ("outside", "icmp", NEIGHBOUR, FAR, NEAR, TAKEN),
            ("outside", "icmp", REDIRECT, FAR, NEAR, NOTHING),
        ],
    )


def test_ipv6_from_a_client(heard: Heard) -> None:
    """ICMPv6 is taken but for what only a router has to say; all else is refused, a reply of DHCPv6 too."""
    own = IPV6["provides_network:gateway6"]
    check(
        heard,
        [
            ("one", "icmp", ECHO6, ONE6, own, TAKEN),
            ("one", "icmp", SOLICIT, ONE6, own, TAKEN),
            ("one", "icmp", ADVERT, ONE6, own, NOTHING),
            ("one", "icmp", REDIRECT, ONE6, own, NOTHING),
            ("one", "udp", 546, ONE6, own, REFUSED6),
            ("one", "udp", 9999, ONE6, own, REFUSED6),
        ],
    )


def test_ipv4_from_the_uplink(heard: Heard) -> None:
    """Nothing is taken that no flow knows, ICMP neither; a DHCP client hears replies before any of these rules."""
    check(
        heard,
        [
            ("outside", "icmp", ECHO4, OUTSIDE, PROVIDER, NOTHING),
            ("outside", "udp", 68, OUTSIDE, PROVIDER, NOTHING),
        ],
    )


def test_ipv4_from_a_client(heard: Heard) -> None:
    """ICMP is taken, what pretends to be a reply of DHCP dropped, all else refused."""
    check(
        heard,
        [
            ("one", "icmp", ECHO4, ONE, GATEWAY, TAKEN),
            ("one", "udp", 68, ONE, GATEWAY, NOTHING),
            ("one", "udp", 546, ONE, GATEWAY, REFUSED4),
        ],
    )


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_only_what_clients_send_is_forwarded(scene: Scene, family: str) -> None:
    """A packet from the uplink that would go out there again is dropped: the provider is nobody else's router."""
    scene.provide(INPUTS | IPV6, TOLD6)
    far, via, source = ("198.51.100.9", PROVIDER, OUTSIDE) if family == "ip" else ("2001:db8:9::9", PROVIDER6, OUTSIDE6)
    version = ["-6"] if family == "ip6" else []
    scene.outside.run(["ip", *version, "route", "add", far, "via", via])
    scene.provider.run(["ip", *version, "route", "replace", "default", "via", source])
    before = scene.count("forward", family)
    scene.outside.run(["python3", "-I", "-c", _SEND, "udp", "9999", source, far], timeout=SOON)
    until(lambda: scene.count("forward", family) == before + 1)


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_the_admins_chains_come_before_all_of_it(scene: Scene, family: str) -> None:
    scene.provide(INPUTS | IPV6, TOLD6)
    for chain in ("input", "forward"):
        listed = json.loads(scene.provider.run(["nft", "-j", "list", "chain", family, "qubes", chain]))["nftables"]
        first = next(entry["rule"] for entry in listed if "rule" in entry)
        assert first["expr"] == [{"jump": {"target": f"custom-{chain}"}}]
