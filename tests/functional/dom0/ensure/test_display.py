"""A VM's GUI mode: what its handler remembers is looked at before and after it is told another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure import display
from vminterface.dom0.services import commands, gui
from vminterface.errors import InvalidValue, ServiceFailed, VerificationFailed
from vminterface.values.change import Change
from vminterface.values.guimode import GuiMode

WHOLE = "run/vminterface/gui-mode"
OWN = "run/user/1000/vminterface/gui-mode"


def note(root: Path, path: str, mode: str, age: int) -> None:
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{mode}\n")
    os.utime(place, (1_700_000_000 - age, 1_700_000_000 - age))


def run(qrexec: Qrexec, mode: GuiMode, *, test: bool = False) -> Mapping[str, Change[Any] | str]:
    changes, _ = display.gui_mode(qrexec, "work", mode).run(test=test)
    return changes


def test_a_mode_is_told_once(work: Path, qrexec: Qrexec) -> None:
    changes = {"gui_mode": Change("unknown", "SEAMLESS")}
    assert run(qrexec, GuiMode.SEAMLESS, test=True) == changes
    assert not (work / WHOLE).exists()
    assert run(qrexec, GuiMode.SEAMLESS) == changes
    assert run(qrexec, GuiMode.SEAMLESS) == {}
    assert run(qrexec, GuiMode.FULLSCREEN) == {"gui_mode": Change("SEAMLESS", "FULLSCREEN")}


@pytest.mark.parametrize(("newer", "older"), [(WHOLE, OWN), (OWN, WHOLE), (WHOLE, None), (OWN, None)])
def test_the_newer_of_two_notes_counts(work: Path, qrexec: Qrexec, newer: str, older: str | None) -> None:
    note(work, newer, "SEAMLESS", 0)
    if older is not None:
        note(work, older, "FULLSCREEN", 9)
    assert run(qrexec, GuiMode.SEAMLESS) == {}


@pytest.mark.parametrize("script", ["cat >/dev/null", f"cat >/dev/null; rm {WHOLE}"], ids=["nothing", "forgets"])
def test_a_handler_that_does_not_do_it_is_told(vms: StandIn, work: Path, qrexec: Qrexec, script: str) -> None:
    note(work, WHOLE, "FULLSCREEN", 0)
    (vms.folder / "vms/work" / gui.SERVICE).unlink()
    vms.handler("work", gui.SERVICE, f"cd {work}; {script}")
    with pytest.raises(
        VerificationFailed,
        match="work: the VM reported success, but the GUI mode did not change",
    ):
        run(qrexec, GuiMode.SEAMLESS)


def test_a_vm_that_cannot_be_asked_is_told_each_time(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("work", gui.SERVICE, f"cat >> {vms.folder}/told")
    for _ in range(2):
        assert run(qrexec, GuiMode.SEAMLESS) == {"gui_mode": Change("unknown", "SEAMLESS")}
    assert (vms.folder / "told").read_text() == "SEAMLESS" * 2


def test_what_is_no_mode_in_the_vms_note_counts_as_unknown(work: Path, qrexec: Qrexec) -> None:
    note(work, WHOLE, "SIDEWAYS", 0)
    assert run(qrexec, GuiMode.SEAMLESS) == {"gui_mode": Change("unknown", "SEAMLESS")}


@pytest.mark.parametrize("name", ["no vm!", "-x", ""])
def test_what_is_no_name_of_a_vm_is_refused_by_the_look_already(vms: StandIn, qrexec: Qrexec, name: str) -> None:
    with pytest.raises(InvalidValue):
        display.gui_mode(qrexec, name, GuiMode.SEAMLESS)


def test_a_vm_that_fails_when_it_is_asked_is_not_told(vms: StandIn, qrexec: Qrexec) -> None:
    vms.handler("work", commands.EXEC, "exit 9")
    vms.handler("work", gui.SERVICE, f"cat >> {vms.folder}/told")
    with pytest.raises(ServiceFailed):
        run(qrexec, GuiMode.SEAMLESS)
    assert not (vms.folder / "told").exists()
