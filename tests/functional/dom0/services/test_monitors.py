"""Monitors of a VM, by our own handler and by one that does as Qubes' own does: what counts as the layout asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.xrandr import fake_xrandr
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure.display import monitor_layout
from vminterface.dom0.services import monitors
from vminterface.errors import VerificationFailed
from vminterface.values.monitor import MonitorLayout

#: Does what gui-agent-linux' ``qubes-set-monitor-layout`` does with a line: it asks cvt for the mode, shows that, sets
#: millimetres where there are some, and has no primary output. It keeps no note.
STOCK = r"""#!/bin/sh
export DISPLAY=:0 n=0
while read W H X Y W_MM H_MM; do
    mode=$(cvt "$W" "$H" | tail -n 1)
    set -- $mode
    size="$4x$8"
    set -- --output "DUMMY$n" --mode "QB$size" --pos "${X}x$Y"
    [ -z "$W_MM" ] || set -- "$@" --set WIDTH_MM "$W_MM" --set HEIGHT_MM "$H_MM"
    xrandr "$@"
    n=$((n + 1))
done
"""


@pytest.fixture
def stock(vms: StandIn, work: Path) -> None:
    need("" if shutil.which("cvt") else "no cvt (Debian package xcvt)")
    fake_xrandr(vms, "work")
    program = vms.folder / "vms/work" / monitors.SERVICE
    program.write_text(STOCK)


@pytest.fixture
def ours(vms: StandIn, work: Path) -> None:
    fake_xrandr(vms, "work")


def apply(qrexec: Qrexec, layout: str) -> bool:
    """Bring work to *layout*; return whether anything had to change."""
    return bool(monitor_layout(qrexec, "work", MonitorLayout.parse(layout)).run(test=False)[0])


@pytest.mark.parametrize("size", ["1366 768", "1360 768", "1050 1680", "900 1600", "1707 1067"])
def test_the_size_that_cvt_makes_of_the_one_asked_for_counts_as_it(stock: None, qrexec: Qrexec, size: str) -> None:
    assert apply(qrexec, f"{size} 0 0\n") is True
    assert apply(qrexec, f"{size} 0 0\n") is False


def test_another_size_does_not_count(stock: None, vms: StandIn, qrexec: Qrexec) -> None:
    (vms.folder / "vms/work" / monitors.SERVICE).write_text(STOCK.replace('size="$4x$8"', "size=1024x768"))
    with pytest.raises(VerificationFailed) as caught:
        apply(qrexec, "1366 768 0 0\n")
    assert str(caught.value) == (
        "work: the VM reported success, but its X server shows 1024x768+0+0 instead of 1366x768+0+0"
    )


def test_millimetres_alone_are_a_change(stock: None, qrexec: Qrexec) -> None:
    assert apply(qrexec, "1920 1080 0 0\n") is True
    assert apply(qrexec, "1920 1080 0 0 190 106\n") is True
    assert apply(qrexec, "1920 1080 0 0 190 106\n") is False


def test_no_millimetres_take_those_that_are_shown_away(stock: None, qrexec: Qrexec) -> None:
    assert apply(qrexec, "1920 1080 0 0 190 106\n") is True
    assert apply(qrexec, "1920 1080 0 0\n") is True
    assert monitors.of_vm(qrexec, "work").layout == MonitorLayout.parse("1920 1080 0 0\n")
    assert apply(qrexec, "1920 1080 0 0\n") is False


def test_where_the_server_shows_no_millimetres_those_that_the_handler_has_kept_count(
    ours: None, vms: StandIn, qrexec: Qrexec
) -> None:
    program = vms.folder / "vms/work.root/usr/local/bin/xrandr.py"
    program.write_text(program.read_text().replace('if "--prop" in sys.argv', "if False"))
    assert apply(qrexec, "1920 1080 0 0\n") is True
    assert apply(qrexec, "1920 1080 0 0 190 106\n") is True
    assert apply(qrexec, "1920 1080 0 0 190 106\n") is False
    assert apply(qrexec, "1920 1080 0 0\n") is True


def test_another_primary_output_is_a_change_where_the_handler_sets_it(ours: None, vms: StandIn, qrexec: Qrexec) -> None:
    two = "1920 1080 0 0\n1280 800 1920 0\n"
    assert apply(qrexec, two) is True
    assert apply(qrexec, two) is False
    state = vms.folder / "vms/work.root/usr/local/bin/xrandr:0.json"
    state.write_text(state.read_text().replace('"primary": "DUMMY0"', '"primary": "DUMMY1"'))
    assert apply(qrexec, two) is True


def test_what_x_makes_of_a_layout_is_said_in_the_comment(ours: None, qrexec: Qrexec) -> None:
    layout = MonitorLayout.parse("800 600 100 0\n800 600 100 0\n")
    notes = "the layout begins at 100, 0, and X moves it to 0, 0; monitors 1 and 2 show the same area"
    assert monitor_layout(qrexec, "work", layout).run(test=False)[1] == f"work: the monitors set; {notes}"
    assert monitor_layout(qrexec, "work", layout).run(test=False) == (
        {},
        f"work: the monitors are already set; {notes}",
    )


@pytest.mark.parametrize("note", ["1 2 3\n", "", "\0" * 4096, "-- kept\n"])
def test_a_note_that_is_none_does_not_count(ours: None, work: Path, qrexec: Qrexec, note: str) -> None:
    assert apply(qrexec, "800 600 0 0\n") is True
    (work / "run/vminterface/monitors").write_text(note)
    assert monitors.of_vm(qrexec, "work").remembered is None
    assert apply(qrexec, "800 600 0 0\n") is False
