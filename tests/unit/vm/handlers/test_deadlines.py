"""A handler gives up before its caller in dom0 does, so that the caller hears why."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from vminterface.dom0.services import disk, gui, monitors, postinstall, readiness, suspend, timesync
from vminterface.vm.handlers import postinstall as handler
from vminterface.vm.handlers import setguimode, setmonitorlayout, syncntpclock, waitfornetworkuplink
from vminterface.vm.handlers.display import xrandr
from vminterface.vm.handlers.runtime import hooks
from vminterface.vm.machine import blockdevice


@pytest.mark.parametrize(
    ("caller", "seconds"),
    [
        (monitors.set_layout, setmonitorlayout.TIMEOUT + xrandr.UNDO),
        (timesync.sync_ntp_clock, syncntpclock.TIMEOUT),
        (disk.resize, blockdevice.TIMEOUT),
        (gui.set_mode, setguimode.TIMEOUT),
        (readiness.wait_for_uplink, waitfornetworkuplink.TIMEOUT),
        (postinstall.post_install, handler.TIMEOUT + 3 * handler.CALL_TIMEOUT),
    ],
)
def test_a_handlers_time_ends_before_its_callers(caller: Callable[..., object], seconds: float) -> None:
    assert seconds + 2 <= inspect.signature(caller).parameters["timeout"].default


def test_the_programs_around_a_suspend_end_before_dom0_goes_on() -> None:
    assert hooks.TIMEOUT + 2 <= suspend.TIMEOUT
