"""Pillars for tests: valid ones of every field, and what becomes of them by changes at random."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

#: Values of each field that a pillar may have.
SAMPLES: dict[str, list[Any]] = {
    "type": ["AppVM", "NetVM", "default", None],
    "updateable": [True, False, "on", "Off", 1, 0, "default", None],
    "persistence": ["full", "rw-only", "none", "default"],
    "base_template": ["fedora-41", "", "default"],
    "default_user": ["user", "a.b+c", "default"],
    "timezone": ["Europe/Warsaw", "UTC", "America/Indiana/Indianapolis", "Etc/GMT+5", "default", None],
    "keyboard": ["us", "pl+dvorak", "us,de+,nodeadkeys", "us++compose:caps", "us,de,fr,pl", "us+", "default"],
    "keymap": ['xkb_keymap { xkb_symbols { include "pc+us" }; };', 'xkb_keymap "x" {\n\t};\n', "default"],
    "debug": [True, "off", "TRUE", "default"],
    "services": [
        {},
        {"cups": True, "clocksync": "default", "own": "off", "x": None},
        {"app-dispvm." + "a" * 200: "on"},
        {"a" * 48: 0, "_x.y-z": "Default"},
    ],
    "vm_config": [{}, {"mode": "x", "a.b": "", "c": None}, {"A" * 52: "~" * 3071}],
    "network": [
        {"ip": "10.137.0.12", "gateway": "10.137.0.5"},
        {
            "ip": "10.137.0.12",
            "netmask": 24,
            "gateway": "10.137.0.5",
            "dns": ["10.139.1.1", "fd00::53"],
            "dns_search": ["Example.org", "corp"],
            "mac": "00:16:3E:5e:6c:00",
            "ip6": "fd09::c",
            "gateway6": "fe80::1",
            "reattach": "on",
            "shared_ip": False,
        },
        {"ip": "10.0.0.2", "gateway": "10.0.0.1", "netmask": "255.255.255.0", "dns": "default", "dns_search": None},
        {"ip": "10.0.0.2", "gateway": "10.0.0.1", "netmask": "24", "mac": "default", "gateway6": None},
        "none",
        "default",
        False,
        None,
    ],
    "provides_network": [
        {"gateway": "10.137.0.5"},
        True,
        "off",
        "none",
        "default",
        1,
        {"gateway": "10.137.0.5", "netmask": "255.255.255.255", "network": "10.137.0.0", "dns": ["10.139.1.1"]},
        {"gateway": "10.137.0.5", "connected": [{"ip": "10.137.0.9", "mac": "", "vif": "vif5.0"}, {"ip": "fd00::9"}]},
    ],
    "monitors": [
        "from_dom0",
        {"from_dom0": True, "dpi": 144},
        {"from_dom0": True},
        None,
        [{"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": 508, "height_mm": 285}],
        [
            {"width": 1920, "height": 1080, "x": 0, "y": 0, "width_mm": None, "height_mm": None, "dpi": None},
            {"width": 800, "height": 600, "x": 1920, "y": 0, "dpi": 96},
        ],
    ],
    "firewall": [
        {"policy": "accept", "netvm": "sys-firewall", "ip": "10.137.0.12"},
        {"policy": "drop", "netvm": "fw", "ip": "10.0.0.9", "ip6": None, "rules": None},
        {
            "policy": "drop",
            "netvm": "fw",
            "ip6": "fd00::9",
            "rules": [
                {"action": "accept", "dsthost": "mirror.example.org", "proto": "tcp", "dstports": 443},
                {"action": "accept", "proto": "udp", "dstports": "8000-8080", "comment": "a b", "expire": 1900000000},
                {"action": "drop", "dst4": "10.0.0.0/8"},
                {"action": "accept", "dst6": "fd00::/8"},
                {"action": "accept", "proto": "icmp", "icmptype": 8},
                {"action": "accept", "specialtarget": "dns"},
                "action=drop dst4=10.0.0.0/8",
                "action=accept expire=1900000000 proto=tcp comment=x y",
            ],
        },
    ],
    "features": [
        {},
        {"gui-allow-fullscreen": True, "menu-items": ["org.example.Viewer.desktop"], "x-own": 1.5, "x": None},
        {"gui-max-clipboard-size": 1000, "gui-secure-copy-sequence": "ctrl-ALT-c", "net.fake-netmask": 24},
        {"prohibit-start": "being mended", "custom-persist.docs": "file:user:user:0644:/srv/x", "internal": "default"},
        {"gui-default-trayicon-mode": "bg", "supported-rpc.x": "on", "preload-dispvm-delay": 1.5, "menu-favorites": ""},
    ],
    "label": ["red", 8, "3", "own.label", None],
    "memory": [400, "400", "4GiB", "1 TiB", "default"],
    "maxmem": [4000, 0, False, "0", "4GiB", "default"],
    "vcpus": [1, 512, "2", "default"],
    "guivm": ["dom0", "sys-gui", "none", False, "default"],
    "audiovm": ["dom0", "none", "default"],
    "autostart": [True, "off", "default"],
    "template_for_dispvms": [False, "on", "default"],
    "channel": ["auto", "xenstore", "qubesdb", None],
    "require_running": [True, False, None],
    "timeout": [1, 0.5, 3600, None],
    "persist": [True, False, None],
    "confirm": [True, False, None],
    "netvm": ["sys-firewall", "none", False, "default", None],
    "optional": [[], ["network", "keyboard"], ["timezone", "debug", "services", "keymap"]],
}

#: One with nearly every field.
VALID: dict[str, Any] = {
    "qubes": {
        "defaults": {
            "timezone": "Europe/Warsaw",
            "services": {"cups": False, "x": None},
            "timeout": 10,
            "label": "red",
        },
        "vms": {
            "work": {
                **{name: SAMPLES[name][0] for name in ("updateable", "persistence", "base_template", "default_user")},
                "type": "AppVM",
                "keyboard": "us,de+,nodeadkeys",
                "debug": "on",
                "services": SAMPLES["services"][1],
                "vm_config": SAMPLES["vm_config"][1],
                "network": SAMPLES["network"][1],
                "monitors": SAMPLES["monitors"][5],
                "firewall": SAMPLES["firewall"][2],
                "features": SAMPLES["features"][2] | SAMPLES["features"][3],
                "memory": "4GiB",
                "vcpus": 2,
                "netvm": "fw",
                "optional": ["network"],
                "confirm": False,
                "channel": "auto",
            },
            "sys-net": {"type": "NetVM", "provides_network": SAMPLES["provides_network"][7], "guivm": "none"},
            "idle": None,
        },
    }
}
#: What may be put into any place.
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    24,
    1.5,
    10**12,
    70000,
    "",
    "x",
    "default",
    "none",
    "on",
    "OFF",
    "\0",
    "é",
    "a b",
    "10.137.0.12",
    "10.139",
    "300.1.1.1",
    "fd00::1",
    "1920",
    "255.255.0.0",
    "00:16:3e:00:00:01",
    "accept",
    "UTC",
    "dom0",
    "Domain-0",
    "x" * 5000,
    [],
    [None],
    ["x"],
    [[]],
    {},
    {"ip": None},
    {"x": {}},
    {"cups": "on"},
    [1] * 40,
]
_FIELDS = ("nosuch", "ip", "timezone", "cups", "service.x", "a b", "x" * 60, "netmask", "dpi", "rules", "memory")


def one_field_each(field: str) -> list[dict[str, Any]]:
    """Return a pillar for each sample of *field*."""
    return [{"qubes": {"vms": {"work": {field: copy.deepcopy(one)}}}} for one in SAMPLES[field]]


def mutations(chance: Random, pillar: Any, count: int, below: str = "") -> Iterator[Any]:
    """Yield *count* pillars, each of them *pillar* with one to three changes; *below* that field alone, if given."""
    ways = [way for way in _places(pillar) if way and (not below or below in way)]
    for _ in range(count):
        found = copy.deepcopy(pillar)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            _change(chance, found, chance.choice(ways), ways)
        json.dumps(found, allow_nan=False)
        yield found


def _change(chance: Random, pillar: Any, way: tuple[Any, ...], ways: list[tuple[Any, ...]]) -> None:
    holder = pillar
    try:
        for key in way[:-1]:
            holder = holder[key]
        old = holder[way[-1]]
        kind = chance.random()
        if kind < 0.15:
            del holder[way[-1]]
        elif kind < 0.3 and isinstance(holder, dict):
            holder[chance.choice(_FIELDS)] = holder.pop(way[-1])
        elif kind < 0.45:
            taken = pillar
            for key in chance.choice(ways):
                taken = taken[key]
            holder[way[-1]] = copy.deepcopy(taken)
        elif kind < 0.65 and (samples := SAMPLES.get(str(way[-1]))):
            holder[way[-1]] = copy.deepcopy(chance.choice(samples))
        elif kind < 0.8 and type(old) in (int, str, bool):
            holder[way[-1]] = _near(chance, old)
        else:
            holder[way[-1]] = copy.deepcopy(chance.choice(VALUES))
    except (KeyError, IndexError, TypeError):
        return  # an earlier change has taken that place away


def _near(chance: Random, old: Any) -> Any:
    """Return something like *old*: a number beside it, a text with a letter more, less or other."""
    if not isinstance(old, str):
        return chance.choice([old + 1, -old, old * 100, str(old), float(old) + 0.5])
    at = chance.randrange(len(old) + 1)
    return old[:at] + chance.choice(["", "x", "0", " ", ".", "-", "+", "\n"]) + old[at + chance.randrange(2) :]


def _places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _places(inner, (*way, key))
