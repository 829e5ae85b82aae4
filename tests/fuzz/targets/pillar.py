"""The pillar: text and data to settings, and a bare key's values; what comes out is what the stores take."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from tests.fuzz.pieces import Pieces, packed, plain
from tests.fuzz.target import Target, bytes_target, check_text
from tests.support.desired import texts
from vminterface import keys
from vminterface.channel import update
from vminterface.cli import pillar as cli_pillar
from vminterface.cli import pillaryaml
from vminterface.dom0.desired import arguments, words
from vminterface.dom0.desired.settings import VMSettings, mentions, parse_pillar
from vminterface.errors import InvalidValue

TEXT = """qubes:
  defaults: &d
    timezone: Europe/Warsaw
    netvm: sys-firewall
    services: {cups: off, clocksync: ~}
    keyboard: us,de+,nodeadkeys
  vms:
    work: &w
      <<: *d
      type: AppVM
      updateable: no
      persistence: rw-only
      network: {ip: 10.137.0.12, netmask: 024, gateway: 10.137.0.5, dns: [10.139.1.1, "fd00::53"],
        mac: 00:16:3e:5e:6c:00}
      monitors: [{width: 1280, height: 800, x: 0, y: 0, dpi: 144}]
      firewall: {policy: drop, rules: [{action: accept, proto: tcp, dstports: 443}, action=drop dst4=10.0.0.0/8]}
      timeout: 010
    sys-net: {type: NetVM, provides_network: {gateway: 10.137.0.5, dns: [10.139.1.1]}}
"""
#: Every field of a VM.
WORK: dict[str, Any] = {
    "type": "AppVM", "updateable": False, "persistence": "rw-only", "base_template": "fedora-41",
    "default_user": "user",
    "timezone": "Europe/Warsaw", "keyboard": "pl+dvorak", "keymap": "xkb_keymap { };", "debug": False,
    "services": {"cups": True, "clocksync": "default"}, "vm_config": {"mode": "x"}, "netvm": "sys-firewall",
    "network": {
        "ip": "10.137.0.12", "netmask": 24, "gateway": "10.137.0.5", "dns": ["10.139.1.1", "fd00::53", "9.9.9.9"],
        "dns_search": ["example.org"], "mac": "00:16:3e:5e:6c:00", "ip6": "fd09::c", "gateway6": "fd09::5",
        "reattach": True,
    },
    "monitors": [{"width": 1920, "height": 1080, "x": 0, "y": 0}], "channel": "auto", "timeout": 5, "confirm": True,
    "firewall": {"policy": "drop", "rules": [{"action": "accept", "proto": "tcp", "dstports": 443}]}, "persist": True,
    "features": {"gui": True, "menu-items": ["a.desktop"]}, "label": "red", "memory": "400MiB", "optional": ["network"],
}  # fmt: skip
NET = {
    "type": "NetVM", "monitors": {"from_dom0": True, "dpi": 120},
    "provides_network": {"gateway": "10.137.0.5", "dns": ["10.139.1.1"],
        "connected": [{"ip": "10.137.0.9", "vif": "vif5.0"}]},
}  # fmt: skip
PILLARS: tuple[Any, ...] = (
    {"qubes": {"defaults": {"timezone": "UTC", "services": {"cups": False}}, "vms": {"work": WORK, "sys-net": NET}}},
    {"qubes": {"vms": {"work": {"network": "none", "timezone": "default", "services": {"x": None}}}}},
    {"qubes": {"vms": {"work": {"network": {"ip": "x"}, "firewall": {"policy": "drop"}}, "-": None, "dom0": {}}}},
    {"qubes": {"vmz": {}, "work": {"timezone": "UTC"}}}, {"qubes": {"defaults": {"timezone": 7}, "vms": {"a": []}}},
    {"qubes": {"vms": {"a": {"netvm": "a", "persist": False}, "b": {"optional": [7], "only": 1, "channel": "x"}}}},
    {"qubes": 7}, {"qubez": {}}, {"_errors": ["x"]}, [],
    {"qubes": {"vms": {"a": {"features": {"gui": 1.5}, "memory": 0}}}},
    {"qubes": {"vms": {"a": {"network": {"ip": "1.2.3.4", "gateway": "1.2.3.5"}},
        "b": {"network": {"ip": "1.2.3.4"}}}}},
)  # fmt: skip


def _parsed(pillar: Any) -> list[VMSettings]:
    with contextlib.suppress(InvalidValue):
        mentions(pillar, "network")
    return parse_pillar(pillar)


def _settings_hold(found: list[VMSettings]) -> None:
    for settings in found:
        for field, text in texts(settings).items():
            assert text is None or (isinstance(text, str) and text.isascii()), f"{field}: {text!r}"
            if text is not None and keys.is_field(field):
                assert keys.read_value(field, text) == settings.desired[field], f"{field} is rendered as {text!r}"
            check_text(words.text(field, settings.desired[field]).replace("\n", " ").replace("\t", " "))
            check_text(settings.path(field))
        assert settings.only(["timezone", "network"]).vm == settings.vm
        assert isinstance(settings.by_call_alone, bool)
        settings.with_options(persist=False, confirm=None)
        settings.after_wait(0.1)


def _yaml(data: bytes) -> list[VMSettings]:
    return _parsed(cli_pillar._parsed("pillar.sls", data.decode("utf-8", "replace")))


def _one_vm(data: bytes) -> list[VMSettings]:
    """Read the settings of one VM, whose defaults are another piece of data."""
    pieces = Pieces(data)
    defaults, raw = plain(pieces.piece()), plain(pieces.rest())
    return _parsed({"qubes": {"defaults": defaults if isinstance(defaults, dict) else {}, "vms": {"work": raw}}})


def _yaml_alone(data: bytes) -> Any:
    return pillaryaml.load("pillar.sls", data.decode("utf-8", "replace"))


def _keys_of(data: bytes) -> Any:
    """Take any data for the keys of a state, and for the arguments of functions."""
    value = plain(data)
    for check in (arguments.text, arguments.data, arguments.texts, arguments.flag, arguments.count, arguments.words):
        try:
            check(value if check is not arguments.words or isinstance(value, list) else [value], "argument")
        except InvalidValue as error:
            check_text(str(error))
    for check_one in (update.value_bytes, update.path_text):
        try:
            check_one(value)
        except InvalidValue as error:
            check_text(str(error))
    return update.tree(None, "/local/domain/3", value)  # type: ignore[arg-type]  # asked with prune alone


def _keys_hold(desired: dict[str, bytes | None]) -> None:
    assert all(isinstance(value, bytes | None) for value in desired.values())


def _in_two(defaults: Any, raw: Any) -> bytes:
    first = packed(defaults)
    return len(first).to_bytes(2, "little") + first + packed(raw)


_NAMES = (
    "qubes vms defaults work timezone network ip netmask gateway dns dns_search mac ip6 gateway6 reattach"
    " provides_network"
    " connected vif keyboard keymap debug services vm_config netvm monitors width height x y dpi from_dom0 firewall"
    " policy"
    " rules action persist confirm channel timeout features label memory maxmem vcpus optional type updateable"
    " persistence"
    " default none true false null on off"
)

TARGETS: tuple[Target, ...] = (
    bytes_target(
        "pillar.yaml", _yaml, TEXT.encode(), json.dumps(PILLARS[1]).encode(),
        b'{"qubes": {"vms": {"a": {}, "a": {}}}}', b"qubes: [", b"\0",
        b'{"qubes": {"vms": {"\\ud83d\\ude00": 1}}}', holds=_settings_hold, input_max=2500,
        words=f"{_NAMES} &d *d <<: !!int !!bool !!binary !!set !!omap !!timestamp !!float !!null .inf 1:30 0x 0b1 ~"
            f" {{ }} [ ] | >",
    ),
    bytes_target(
        "pillar.yaml-alone", _yaml_alone, b"a: 010\nb: 1:30\nc: 2020-01-02\n", b"? [a]\n: b", b"a: {{ x }}",
        b"a: !!bool x", b"qubes: {a: 22:30}",
        b"a: &x [*x]", b"a: 1\na: 2", b"<<: {a: 1}\nb: 2", b"<<: [{a: 1}, {a: 2}]", b"<<: 7", b"- " * 200, b"\xff",
        b"a: !!binary x", b"local: {qubes: 1:1}",
        b"=: 1", b"[" * 900, b"a: !!int 0x", b"a: !!float x", b"&a a: *b", b"%TAG x",
        words="!!int !!float !!binary !!omap !!set << : ? - & * | > { } [ ] 0x 0b 0o %",
    ),
    bytes_target("pillar.data", lambda data: _parsed(plain(data)), *map(packed, PILLARS), holds=_settings_hold,
        words=_NAMES, input_max=2500),
    bytes_target(
        "pillar.vm", _one_vm, _in_two({}, WORK), _in_two({"timezone": "UTC"}, NET),
        _in_two({"network": WORK["network"]}, {"network": None, "debug": "x"}),
        *(_in_two({}, {name: value}) for name, value in WORK.items()), *(_in_two({}, {name: [name]}) for name in WORK),
        holds=_settings_hold, words=_NAMES, input_max=2500,
    ),
    bytes_target(
        "state.keys", _keys_of, *map(packed, ({"a": "1", "b": {"c": 2, "d": None}}, {"x": b"y"}, [], "x", 7, {1: "x"},
            {"a": [1]}, {None: 1})),
        bytes([9, 1]) + packed("a") + bytes([4, 255, 255, 0]), bytes([9, 1, 4, 255, 255, 0]) + packed("x"),
        bytes([8, 1, 4, 255, 255, 0]), bytes([4, 255, 255, 0]), holds=_keys_hold,
    ),
)  # fmt: skip
