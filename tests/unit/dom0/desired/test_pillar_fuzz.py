"""Whatever a pillar's file has in it, it becomes settings, or errors of one line each; nothing else is raised.

The whole way is taken, from the text to the settings. ``VMINTERFACE_FUZZ``: how many mutations of each kind there are.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support import seeds
from tests.support.desired import texts
from tests.support.masked import masked
from vminterface.cli import pillar as cli_pillar
from vminterface.dom0.desired.settings import parse_pillar
from vminterface.errors import InvalidValue

ROUNDS = int(os.environ.get("VMINTERFACE_FUZZ", "300"))

TEXT = """
qubes:
  defaults: &d
    timezone: Europe/Warsaw
    netvm: sys-firewall
    services: {cups: off, clocksync: ~}
    vm_config: {mode: "x"}
    keyboard: us,de+,nodeadkeys
    timeout: 010
  vms:
    work: &w
      <<: *d
      type: AppVM
      updateable: no
      persistence: rw-only
      base_template: fedora-41
      default_user: user
      keymap: 'xkb_keymap { xkb_symbols { include "pc+us" }; };'
      debug: !!bool off
      network: {ip: 10.137.0.12, netmask: 024, gateway: 10.137.0.5, dns: [10.139.1.1, "fd00::53", 9.9.9.9],
        dns_search: [example.org], mac: 00:16:3e:5e:6c:00, ip6: "fd09::c", gateway6: "fd09::5", reattach: on}
      monitors:
        - {width: 1920, height: 1080, x: 0, y: 0, width_mm: 508, height_mm: 285}
        - {width: 1280, height: 800, x: 1920, y: 0, dpi: 144}
      firewall:
        policy: drop
        rules:
          - {action: accept, dsthost: mirror.example.org, proto: tcp, dstports: 443}
          - action=drop dst4=10.0.0.0/8
      persist: true
      confirm: false
      channel: auto
      require_running: false
    sys-net:
      type: NetVM
      provides_network: {gateway: 10.137.0.5, dns: [10.139.1.1], connected: [{ip: 10.137.0.9, vif: vif5.0}]}
      monitors: {from_dom0: true, dpi: 120}
"""
PIECES = [
    "~", "!", "&", "*", "?", ":", "-", "[", "]", "{", "}", ",", "#", "|", ">", "'", '"', "%", "@", "`", "\\", "=", "<<",
    "..", "0", "00", "08", "0_", "1:30", "-1", "1e9", ".inf", ".nan", "\n", "\n  ", " ", "\t", "\0",
    "\x1b", "é", "\x85",
    "\ufeff", "!!map ", "!!set ", "!!seq ", "!!bool ", "!!int ", "!!float ", "!!null ", "!!binary ", "!!omap ",
    "!!timestamp ",
    "*d", "*w", "&d", "<<: *w", "default", "none", "on", "null", "2020-01-02", "9" * 5000, "0x" + "f" * 4000,
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 24, 1.5, float("nan"), float("inf"), 10**30, 16**5000, "", "x", "default", "none", "~",
    "\0", "\x1b[2J", "é", "10.137.0.12", "10.139", "fd00::1", "1920", "x" * 5000, b"x", [], [None], [[]], {},
    {None: None}, {1: 2}, {"ip": None}, set(), (1, 2), [1] * 100,
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("fuzz") / "pillar.sls"
    file.write_text(TEXT)
    pillar = cli_pillar.load(str(file))
    assert len(parse_pillar(pillar)) == 2
    return pillar


def check(run: Callable[..., Any], what: tuple[Any, ...]) -> None:
    try:
        for settings in run():
            assert all(text is None or isinstance(text, str) for text in texts(settings).values()), what
    except InvalidValue as error:
        found = error.errors
    else:
        return
    assert found, what
    for one in found:
        assert str(one), what
        assert str(one).isprintable(), what
        assert one.where.isprintable(), what


def mutated(chance: Random, text: str) -> str:
    for _ in range(chance.randint(1, 3)):
        at, length = chance.randrange(len(text) + 1), chance.choice((0, 0, 1, 3, 20))
        kind = chance.random()
        piece = chance.choice(PIECES)
        if kind < 0.2:
            start = chance.randrange(len(text) + 1)
            piece = text[start : start + chance.randint(1, 40)]
        text = text[:at] + piece + text[at + length :]
    return text


def test_a_text_that_was_mutated(base: Any, tmp_path: Path) -> None:
    chance = seeds.chance("texts of pillars")
    file = tmp_path / "pillar.sls"
    for number in range(ROUNDS):
        text = mutated(chance, TEXT)
        file.write_text(text, encoding="utf-8")
        check(lambda: parse_pillar(cli_pillar.load(str(file))), (number, text))


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[Any]:
    yield way
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*way, key))


def changed(chance: Random, pillar: dict[str, Any], ways: list[Any]) -> dict[str, Any]:
    pillar = copy.deepcopy(pillar)
    for _ in range(chance.randint(1, 3)):
        way = chance.choice(ways)
        holder: Any = pillar
        try:
            for key in way[:-1]:
                holder = holder[key]
            if not way or not isinstance(holder, dict | list):
                continue
            kind = chance.random()
            if kind < 0.15:
                del holder[way[-1]]
            elif kind < 0.3 and isinstance(holder, dict):
                holder[chance.choice([1, None, True, "x", "é\0", 10**30, (1,), chance.choice(ways)[-1:]])] = holder.pop(
                    way[-1]
                )
            elif kind < 0.5:
                holder[way[-1]] = copy.deepcopy(taken(pillar, chance.choice(ways)))
            else:
                holder[way[-1]] = copy.deepcopy(chance.choice(VALUES))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken that place away
    return pillar


def taken(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def test_a_structure_that_was_changed(base: Any) -> None:
    chance = seeds.chance("structures of pillars")
    ways = list(places(base))
    for number in range(ROUNDS):
        pillar = changed(chance, base, ways)
        check(lambda pillar=pillar: parse_pillar(pillar), (number, pillar))
        # The classes that Salt 3008 has for a pillar make no difference, neither to settings nor to errors.
        assert came_of(masked(pillar)) == came_of(pillar), (number, pillar)


def came_of(pillar: Any) -> str:
    try:
        return repr(parse_pillar(pillar))
    except InvalidValue as error:
        return "\n".join(f"{one.where}: {one}" for one in error.errors)
