"""Whatever a VM reports, the parsers of memory and devices give an entry or one line of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support import seeds
from tests.unit.values.test_fuzz import NASTY, RUNS, assert_is_one_of_our_faults, mutated
from vminterface.errors import InvalidValue
from vminterface.values.blockdevice import BlockDevice
from vminterface.values.memory import Meminfo, parse_kb, parse_report, render_kb
from vminterface.values.usbdevice import UsbDevice

MEMINFO = Meminfo(400000, 100000, 20000, 80000, 1000000, 990000).render()
BLOCK = {"desc": "Ultra_Fit (X)", "size": "15376318464", "mode": "w", "device": "/dev/sda1", "parent": "sda"}
USB = {
    "desc": r"046d:c52b Logitech USB\x20Receiver serial",
    "usb-ver": "2",
    "interfaces": ":030101:",
    "connected-to": "work",
}


@pytest.mark.fuzz
@pytest.mark.parametrize("parse", [parse_kb, parse_report])
def test_a_memory_report_gives_a_number_that_can_be_written_or_an_invalid_value(parse: Callable[..., Any]) -> None:
    rng = seeds.chance(parse.__name__)
    accepted = refused = 0
    for _ in range(RUNS):
        text = mutated(rng, (MEMINFO, "210000", "0") if parse is parse_report else ("210000", "0"))
        try:
            used = parse(text)
        except InvalidValue as fault:
            refused += 1
            if refused % 100 == 0:
                assert_is_one_of_our_faults(fault)
            continue
        accepted += 1
        assert used >= 0
        if used < 10**15:
            assert parse(render_kb(used)) == used
    assert accepted > RUNS // 100
    assert refused > RUNS // 100


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("kind", "names", "keys"), [(BlockDevice, ("sda1", "dm-0"), BLOCK), (UsbDevice, ("2-1_4",), USB)]
)
def test_an_entry_of_a_device_list_gives_a_device_or_an_invalid_value(
    kind: type[Any], names: tuple[Any, ...], keys: dict[str, str]
) -> None:
    rng = seeds.chance(kind.__name__)
    accepted = refused = 0
    for _ in range(RUNS):
        name = mutated(rng, names) if rng.random() < 0.2 else names[0]
        texts = {key: text for key, text in keys.items() if rng.random() < 0.95}
        if rng.random() < 0.7:
            key = rng.choice([*keys, rng.choice(NASTY)])
            texts[key] = mutated(rng, (keys.get(key, "x"),))
        try:
            device = kind.parse(name, texts)
        except InvalidValue as fault:
            refused += 1
            if refused % 100 == 0:
                assert_is_one_of_our_faults(fault)
            continue
        accepted += 1
        if accepted % 10 == 0:
            again = kind.parse(device.name, {**texts, **device.render()})
            assert replace(again, assumed={}) == replace(device, assumed={})
            assert all(line.isascii() and line.isprintable() for line in device.assumed.values())
            assert getattr(device, "description", device.desc).isascii()
            assert getattr(device, "description", device.desc).isprintable()
    assert accepted > RUNS // 100
    assert refused > RUNS // 100
