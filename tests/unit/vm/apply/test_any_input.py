"""Whatever stands in the store: each step applies it or refuses it as one of our errors, and stays below its root."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support import seeds
from vminterface.errors import ProgramMissing, VMInterfaceError
from vminterface.vm.apply import debug, keyboard, name, network, provider, services, timezone
from vminterface.vm.machine.machine import Machine

RUNS = seeds.rounds(100_000)
STEPS: dict[str, tuple[Callable[[Mapping[str, str], Machine], str], dict[str, str]]] = {
    "timezone": (timezone.apply, {"timezone": "Europe/Warsaw"}),
    "services": (services.apply, {"services:cups": "1", "services:app-dispvm.x": "0"}),
    "network": (
        network.apply,
        {
            "network:ip": "10.137.0.12",
            "network:netmask": "255.255.255.0",
            "network:gateway": "10.137.0.5",
            "network:mac": "00:16:3e:5e:6c:00",
            "network:ip6": "fd09::c",
            "network:gateway6": "fe80::1",
        },
    ),
    "provider": (
        provider.apply,
        {
            "provides_network:gateway": "10.137.0.5",
            "provides_network:netmask": "255.255.255.0",
            "provides_network:primary_dns": "10.139.1.1",
            "provides_network:gateway6": "fe80::1",
            "provides_network:connected": "10.137.0.12,00:16:3e:5e:6c:01,vif5.0 fd09::c",
        },
    ),
    "keyboard": (keyboard.apply, {"keyboard": "de+nodeadkeys+compose:caps"}),
    "keymap": (keyboard.apply, {"keymap": 'xkb_keymap { xkb_symbols { include "pc+us" }; };'}),
    "debug": (debug.apply, {"debug": "1"}),
    "name": (name.apply, {"name": "work"}),
}
PIECES = ["", "/", "..", "\0", "\n", "\x1b", "\udcff", "é", "+", ",", "-", "0", "\\", " ", "{", "%s"]


class WithoutPrograms(Machine):
    """One that runs nothing, and whose files need not outlive it: what was accepted is seen by the attempt."""

    def run(self, argv: Sequence[str], **options: Any) -> NoReturn:
        assert all("\0" not in word for word in argv)
        raise ProgramMissing(f"the program {argv[0]} is not installed here")


def mutated(text: str, chance: random.Random) -> str:
    for _ in range(chance.randint(0, 4)):
        at = chance.randint(0, len(text))
        piece = chance.choice(PIECES)
        text = text[:at] + piece + text[at + chance.randint(0, 2) :]
    return text * chance.choice([1, 1, 1, 1, 0, 60])


@pytest.mark.fuzz
@pytest.mark.parametrize("setting", STEPS)
def test_any_text_is_applied_refused_or_told_as_ignored(setting: str, tmp_path: Path) -> None:
    root = tmp_path / "vm"
    machine = WithoutPrograms(str(root))
    machine.write_file("/usr/share/zoneinfo/Europe/Warsaw", b"TZif2")
    machine.write_file("/etc/debian_version", "12")
    machine.write_file("/etc/hosts", "127.0.1.1 old\n")
    apply, inputs = STEPS[setting]
    chance = seeds.chance(setting)
    refused = 0
    for _ in range(RUNS // len(STEPS) + 1):
        chosen = {
            mutated(field, chance) if setting == "services" and chance.random() < 0.3 else field: mutated(text, chance)
            for field, text in inputs.items()
            if chance.random() < 0.9
        }
        try:
            note = apply(chosen, machine)
            assert isinstance(note, str)
            refused += "ignored: " in note
        except VMInterfaceError:
            refused += 1
    assert refused > 100
    assert os.listdir(tmp_path) == ["vm"]
    assert set(os.listdir(root)) <= {"etc", "run", "usr"}
    assert set(os.listdir(root / "etc")) <= {"debian_version", "hosts", "hostname", "localtime", "timezone"}
