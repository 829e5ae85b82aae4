"""dom0's end of a GUI connection's beginning: the keyboard under ``qubes-keyboard``, then version and screen.

Order and forms are those of Qubes ``qubes-guid`` (gui-daemon ``xside.c``). The screen is taken from the same layout
that ``qubes.SetMonitorLayout`` sends afterwards, so that the two never contradict each other.
"""

from __future__ import annotations

import socket

from vminterface import keys
from vminterface.channel.gui import GuiStream
from vminterface.deadline import Deadline
from vminterface.dom0.targets import Target
from vminterface.errors import RemoteProtocolError
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.monitor import MonitorLayout
from vminterface.wire.gui import CURRENT, DAEMON, Connection, Version, XConf


def screen_of(layout: MonitorLayout, depth: int = 24) -> XConf:
    """Return the root window that holds all monitors of *layout*; it begins at 0, 0."""
    left, top, width, height = layout.bounding_box
    return XConf.of_screen(left + width, top + height, depth)


def hand_over_keyboard(target: Target, layout: KeyboardLayout) -> None:
    """Write what ``setxkbmap -print`` says of *layout* under ``qubes-keyboard``. Raises the store's errors."""
    target.store.write(target.path(keys.for_field("keymap").name), layout.keymap().render().encode())


def begin(
    stream: socket.socket,
    layout: MonitorLayout,
    deadline: Deadline,
    *,
    target: Target | None = None,
    keyboard: KeyboardLayout | None = None,
    version: Version = CURRENT,
) -> GuiStream:
    """Speak to the agent at the other end of *stream* until it knows the screen; return the connection for messages.

    With *target* and *keyboard*, the keyboard is handed over first. Raises RemoteProtocolError for an agent of another
    major version, DeadlineExceeded, ConnectionLost, and the store's errors.
    """
    screen = screen_of(layout)
    if target is not None and keyboard is not None:
        hand_over_keyboard(target, keyboard)
    gui = GuiStream(stream, Connection(DAEMON, version))
    if not isinstance(gui.receive(deadline), Version):
        raise RemoteProtocolError("the agent did not begin with its version")
    gui.send(screen, deadline)
    return gui
