"""Whatever a parser is given, it gives a value or an InvalidValue, and a value is read again from what it renders."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import seeds
from vminterface.errors import InvalidValue
from vminterface.values import address, flags, vmname
from vminterface.values.acknowledgement import Acknowledgement, digest
from vminterface.values.client import Clients
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.values.label import Label
from vminterface.values.memorysize import MemorySize
from vminterface.values.network import ClientNetwork, ProviderNetwork
from vminterface.values.persistence import Persistence
from vminterface.values.service import ServiceName, ServiceState
from vminterface.values.timezone import Timezone
from vminterface.values.vmname import VMName
from vminterface.values.vmtype import VMType

RUNS = seeds.rounds(100_000)

NASTY = [
    *"\x00\x01\t\n\r\x1b \"'$`\\/|;:.,+-_=@%#(){}[]~",
    "\x7f",
    "\x80",
    "\xa0",
    "\xb2",
    "\u0130",
    "\u0661",
    "\u2028",
    "\u200b",
    "\u212a",
    "\uff10",
    "\ud800",
    "\udcff",
    "\U0001d7ce",
    "..",
    "//",
    "::",
    "\\n",
    "\\x",
    "0",
    "1",
    "9",
    "00",
    "a",
    "Z",
    "True",
    "on",
    "A" * 100,
    "9" * 50,
]

NETWORK_TEXTS = (
    "10.137.0.12",
    "10.137.0.5",
    "255.255.255.0",
    "24",
    "10.137.0.0",
    "00:16:3e:5e:6c:00",
    "fd09:24ef:4179::a89:3",
    "fe80::1",
    "::ffff:10.0.0.1",
    "0.0.0.0",
)
KEYMAP = KeyboardLayout.parse("us,de+,nodeadkeys").keymap().text
ESCAPED_KEYMAP = KEYMAP.replace("\n", "\\n").replace("\t", "\\t")

#: Parser, its inverse, and legal texts to start from.
PARSERS: dict[str, tuple[Callable[[str], Any], Callable[[Any], str | None], tuple[str, ...]]] = {
    "timezone": (
        lambda text: Timezone.parse(text, exists=lambda name: True),
        Timezone.render,
        ("Europe/Warsaw", "America/Indiana/Indianapolis", "Etc/GMT+5", "UTC"),
    ),
    "label": (Label.parse, Label.render, ("red", "8", "my-own.label_2")),
    "memory size": (MemorySize.parse, MemorySize.render, ("400", "4GiB", "16 TiB")),
    "service name": (ServiceName.parse, ServiceName.render, ("cups", "app-dispvm.firefox", "qubes-update-check")),
    "service state": (ServiceState.from_key, ServiceState.render, ("0", "1")),
    "service word": (ServiceState.from_word, ServiceState.word, ("on", "off", "default", "True")),
    "flag word": (flags.from_word, lambda value: "on" if value else "off", ("on", "off", "true", "0")),
    "true or false": (flags.parse_true_false, flags.render_true_false, ("True", "False")),
    "one or zero": (flags.parse_one_zero, flags.render_one_zero, ("0", "1")),
    "ipv4": (address.parse_ipv4, address.render, NETWORK_TEXTS),
    "ipv6": (address.parse_ipv6, address.render, NETWORK_TEXTS),
    "netmask": (address.parse_netmask, address.render, (*NETWORK_TEXTS, "255.255.255.255", "1")),
    "mac": (address.parse_mac, address.render, NETWORK_TEXTS),
    "clients": (Clients.parse, str, ("10.137.0.12,00:16:3e:5e:6c:01,vif5.0 fd09::c", "10.137.0.12,,vif5.0", "")),
    "keyboard layout": (
        KeyboardLayout.parse,
        KeyboardLayout.render,
        ("us++", "fr+oss+", "pl++compose:caps", "us,de+,nodeadkeys+", "us,de,fr"),
    ),
    "keymap": (Keymap.parse, Keymap.render, (KEYMAP, "xkb_keymap { };", 'xkb_keymap { "}" };\n// end')),
    "escaped keymap": (
        Keymap.from_escaped,
        lambda keymap: keymap.text.replace("\\", "\\\\"),
        (ESCAPED_KEYMAP, "xkb_keymap\\x0a{ };"),
    ),
    "vm type": (VMType.parse, VMType.render, tuple(kind.value for kind in VMType)),
    "persistence": (Persistence.parse, Persistence.render, ("full", "rw-only", "none")),
    "vm name": (VMName.parse, VMName.render, ("work", "sys-net", "a" * 31, "Domain-0", "work-dm")),
    "default user": (vmname.parse_default_user, str, ("user", "joanna.r", "a+b,c")),
    "acknowledgement": (
        Acknowledgement.parse,
        Acknowledgement.render,
        ("ok 0123456789abcdef", "ok 0123456789abcdef note", "refused 0123456789abcdef no such zone"),
    ),
}


def mutated(rng: random.Random, legal: tuple[str, ...]) -> str:
    """A text of nasty pieces, or a legal one with a few pieces put in, taken out, replaced or doubled."""
    if rng.random() < 0.2:
        return "".join(rng.choices(NASTY, k=int(rng.random() * 12)))
    text = legal[int(rng.random() * len(legal))]
    for _ in range(int(rng.random() * 3)):
        start = int(rng.random() * (len(text) + 1))
        end = start + int(rng.random() * 3)
        piece = NASTY[int(rng.random() * len(NASTY))]
        way = rng.random()
        if way < 0.4:
            text = text[:start] + piece + text[start:]
        elif way < 0.7:
            text = text[:start] + piece + text[end:]
        elif way < 0.9:
            text = text[:start] + text[end:]
        else:
            text += text
    return text


def assert_is_one_of_our_faults(fault: InvalidValue) -> None:
    for one in fault.errors:
        assert str(one).isprintable()
        assert str(one).isascii()
        assert 10 < len(str(one)) < 400


@pytest.mark.fuzz
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_gives_a_value_or_an_invalid_value(name: str) -> None:
    parse, render, legal = PARSERS[name]
    rng = seeds.chance(name)
    accepted = refused = 0
    for _ in range(RUNS):
        text = mutated(rng, legal)
        try:
            value = parse(text)
        except InvalidValue as fault:
            refused += 1
            if refused % 100 == 0:
                assert_is_one_of_our_faults(fault)
            continue
        accepted += 1
        if accepted % 10 == 0:
            rendered = render(value)
            assert rendered is not None
            assert rendered.isascii()
            again = parse(rendered)
            assert render(again) == rendered
    assert accepted > RUNS // 100
    assert refused > RUNS // 100


def field_texts(rng: random.Random) -> dict[str, str]:
    names = ("ip", "gateway", "netmask", "network", "primary_dns", "secondary_dns", "mac", "ip6", "gateway6", "x\x1b")
    right = {
        "ip": NETWORK_TEXTS[:1],
        "gateway": NETWORK_TEXTS[:2],
        "netmask": NETWORK_TEXTS[2:4],
        "network": NETWORK_TEXTS[1:5],
        "primary_dns": NETWORK_TEXTS[:2],
        "secondary_dns": NETWORK_TEXTS[:2],
        "mac": NETWORK_TEXTS[5:6],
        "ip6": NETWORK_TEXTS[6:7],
        "gateway6": NETWORK_TEXTS[6:8],
    }
    chosen = {"gateway", *(name for name in names[:9] if rng.random() < 0.4)}
    texts = {name: rng.choice(right[name]) for name in chosen}
    if rng.random() < 0.4:
        texts[rng.choice(names)] = mutated(rng, NETWORK_TEXTS)
    return texts


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", [ClientNetwork, ProviderNetwork])
def test_a_network_is_read_whole_or_every_fault_has_its_field(kind: type[Any]) -> None:
    rng = seeds.chance(kind.__name__)
    accepted = refused = nowhere = 0
    for _ in range(RUNS):
        texts = field_texts(rng)
        try:
            value = kind.parse(texts)
        except InvalidValue as fault:
            refused += 1
            nowhere += any(not one.where for one in fault.errors)
            if refused % 100 == 0:
                assert_is_one_of_our_faults(fault)
            continue
        accepted += 1
        if accepted % 10 == 0:
            assert kind.parse(value.render()) == value
    assert nowhere == 0
    assert accepted > RUNS // 100
    assert refused > RUNS // 100


def digests(rng: random.Random) -> Iterator[str]:
    for _ in range(RUNS):
        texts = {mutated(rng, ("timezone", "network:ip")): mutated(rng, NETWORK_TEXTS) for _ in range(rng.randrange(3))}
        try:
            yield digest(texts)
        except InvalidValue as fault:
            assert_is_one_of_our_faults(fault)


@pytest.mark.fuzz
def test_a_digest_is_sixteen_digits_whatever_it_is_of() -> None:
    found = list(digests(seeds.chance("digest")))
    assert len(found) > RUNS // 100
    assert all(len(text) == 16 and set(text) <= set("0123456789abcdef") for text in found)
