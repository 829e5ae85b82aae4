"""The greeting of a VM's GUI agent as plain data, from plain arguments."""

from __future__ import annotations

from typing import Any

from vminterface.channel.qrexec.client import checked_timeout
from vminterface.dom0.desired import arguments
from vminterface.dom0.ensure import display
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.services import guigreeting
from vminterface.errors import InvalidValue
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.vmname import refuse_dom0
from vminterface.wire.gui import XConf


def greet(
    vm: Any,
    monitors: Any = None,
    screen: Any = None,
    keyboard: Any = None,
    socket: Any = None,
    timeout: Any = guigreeting.TIMEOUT,
) -> dict[str, Any]:
    """Greet the GUI agent of *vm*; return ``version``, ``width``, ``height`` and ``depth`` of the greeting.

    *screen* is ``WIDTHxHEIGHT``; else it is that of *monitors*, in the pillar's form, by default dom0's own. *keyboard*
    is a layout as in the pillar, *socket* a path. Raises InvalidValue, else as :func:`guigreeting.greet` and
    :func:`monitors.of_dom0`.
    """
    name, seconds = arguments.text(vm, "vm"), checked_timeout(timeout)
    refuse_dom0(name)
    layout = None if keyboard is None else KeyboardLayout.parse(arguments.text(keyboard, "keyboard"))
    path = None if socket is None else arguments.text(socket, "socket")
    whole = _screen(monitors, screen)
    with Targets() as targets:
        greeting = guigreeting.greet(targets, name, whole, keyboard=layout, path=path, timeout=seconds)
    return {
        "version": str(greeting.version),
        "width": greeting.screen.width,
        "height": greeting.screen.height,
        "depth": greeting.screen.depth,
    }


def _screen(monitors: Any, screen: Any) -> XConf:
    if screen is None:
        return guigreeting.screen_of(display.desired("from_dom0" if monitors is None else monitors))
    if monitors is not None:
        raise InvalidValue("cannot be given together with monitors (expected one of them)", "screen")
    return guigreeting.parse_screen(arguments.text(screen, "screen"))
