"""Hostile input for everything that services carry: a result or one of our errors, 100,000 times each."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.support import seeds
from vminterface.errors import VMInterfaceError
from vminterface.values import clock, rpcname, selectedpath
from vminterface.values.appmenu import MenuEntries
from vminterface.values.device import PciAddress
from vminterface.values.guimode import GuiMode
from vminterface.values.image import Image
from vminterface.values.monitor import MonitorLayout
from vminterface.values.volume import Volume
from vminterface.values.xrandr import layout_of_dom0
from vminterface.wire.openinvm import Header

RUNS = seeds.rounds(100_000)

XRANDR = b"eDP-1 connected primary 1920x1080+0+0 (normal left) 344mm x 194mm\nDP-1 disconnected (normal)\n"
MENU = b"a.desktop:Name=A b\n/usr/share/b.desktop:Categories=GTK;Qt;\nb.desktop:Exec=x %u\n#\na.desktop:#x\n\n"


def text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """Let a parser of text be fed with bytes, each a character."""
    return lambda untrusted_data: parse(untrusted_data.decode("latin-1"))


TARGETS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "layout": (text(MonitorLayout.parse), b"1920 1080 0 0 508 285\n1280 800 1920 0\n"),
    "xrandr": (text(layout_of_dom0), XRANDR),
    "clock": (text(clock.parse), b"2026-07-31T16:10:43+00:00\n"),
    "clock answer": (clock.parse_reply, b"2026-07-31T16:10:43,123456789+00:00\n"),
    "image": (Image.parse, b"2 1\n\xff\x00\x00\xff\x00\xff\x00\x80"),
    "menu": (MenuEntries.parse, MENU),
    "pci address": (text(PciAddress.parse), b"0000:00:06.0"),
    "selected path": (selectedpath.parse, b"/home/user/a.txt\n"),
    "file header": (Header.parse, b"view-only-a.txt".ljust(256, b"\0")),
    "gui mode": (text(GuiMode.parse), b"SEAMLESS"),
    "volume": (text(Volume.parse), b"private"),
    "service": (text(rpcname.parse_service), b"qubes.SetMonitorLayout"),
    "argument": (text(rpcname.parse_argument), b"ls+--a+-2Fhome"),
    "target": (text(rpcname.parse_target), b"sys-net"),
}


def hostile(seed: random.Random, good: bytes) -> bytes:
    """Return *good* with a few bytes changed, taken out, put in, doubled or cut; now and then pure noise."""
    if seed.random() < 0.1:
        return seed.randbytes(seed.randrange(64))
    data = bytearray(good)
    for _ in range(seed.randrange(4)):
        at = seed.randrange(len(data) + 1)
        kind = seed.randrange(6)
        if kind == 0:
            data[at : at + 1] = seed.randbytes(1)
        elif kind == 1:
            del data[at : at + seed.randrange(1, 4)]
        elif kind == 2:
            data[at:at] = seed.choice([b"\n", b" ", b"\0", b"+", b":", b"=", b"..", b"/", b"-", b"9" * 30, b"\x1b[0m"])
        elif kind == 3:
            data[at:at] = data[: seed.randrange(1, 40)]
        elif kind == 4:
            del data[at:]
        else:
            data[at : at + 1] = seed.choice([b"0", b"1", b"9", b"a", b"Z", b"_"])
    return bytes(data)


@pytest.mark.fuzz
@pytest.mark.parametrize("target", TARGETS)
def test_hostile_input_is_read_or_refused(target: str) -> None:
    parse, good = TARGETS[target]
    seed = seeds.chance(target)
    parse(good)
    taken = 0
    said = set()
    for _ in range(RUNS):
        untrusted_data = hostile(seed, good)
        try:
            parse(untrusted_data)
        except VMInterfaceError as error:
            said.add(str(error))
        except Exception as error:
            pytest.fail(f"{target}: {untrusted_data!r} made {error!r}")
        else:
            taken += 1
    assert taken
    # A line of a menu that is not understood is passed over; everything else has input that it refuses.
    assert said or target == "menu"
    assert [
        sentence for sentence in said if not sentence.isascii() or not sentence.replace("\n", "").isprintable()
    ] == []
