"""dom0's end of a GUI connection's beginning: the keyboard under ``qubes-keyboard``, then version and screen.

Order and forms are those of Qubes ``qubes-guid`` (gui-daemon ``xside.c``). The screen is the whole one, that of all
monitors; the monitors themselves are sent later, by ``qubes.SetMonitorLayout``.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from vminterface import keys
from vminterface.channel import gui
from vminterface.channel.gui import GuiStream
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    LocalProtocolError,
    RemoteProtocolError,
    printable,
)
from vminterface.regex import regex
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.monitor import MonitorLayout
from vminterface.wire.gui import CURRENT, DAEMON, Connection, Version, XConf

#: Seconds for all of a greeting unless the caller says otherwise.
TIMEOUT = 10.0
_SCREEN = regex(r"([0-9]{1,5})x([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Greeting:
    """The greeting of a VM's GUI agent: the protocol *version* that both speak, and the whole *screen*."""

    version: Version
    screen: XConf


def parse_screen(text: str) -> XConf:
    """Read ``WIDTHxHEIGHT``, in pixels; the width goes up to a multiple of 8. Raises InvalidValue."""
    found = _SCREEN.fullmatch(text)
    try:
        if found is None:
            raise LocalProtocolError("expected WIDTHxHEIGHT, such as 1920x1080")
        return XConf.of_screen(int(found[1]), int(found[2]))
    except LocalProtocolError as error:
        raise InvalidValue(f"'{printable(text, 40)}' is not a valid screen: {error}", "screen") from None


def screen_of(layout: MonitorLayout, depth: int = 24) -> XConf:
    """Return the root window that holds all monitors of *layout*; it begins at 0, 0."""
    left, top, width, height = layout.bounding_box
    return XConf.of_screen(left + width, top + height, depth)


def hand_over_keyboard(target: Target, layout: KeyboardLayout) -> None:
    """Write the output of ``setxkbmap -print`` for *layout* under ``qubes-keyboard``. Raises the store's errors."""
    target.store.write(target.path(keys.for_field("keymap").name), layout.keymap().render().encode())


def greet(
    targets: Targets,
    vm: str,
    screen: XConf,
    *,
    keyboard: KeyboardLayout | None = None,
    path: str | None = None,
    timeout: float = TIMEOUT,
) -> Greeting:
    """Greet the GUI agent of *vm* as a GUI daemon does when it connects, and hang up.

    It is met on the stream socket *path*, by default the one that stands for its vchan. With *keyboard*, that is handed
    over first. *timeout*, in seconds, is for the whole greeting. Raises VMNotRunning, ConnectionLost where nobody
    listens, DeadlineExceeded, RemoteProtocolError for an agent of another major version, and the store's errors; each
    names the VM.
    """
    deadline = Deadline.after(timeout)
    target = targets.one(vm)
    if path is None:
        domid = targets.one(vm, "xenstore").domid
        assert domid is not None
        path = gui.socket_path(domid)
    try:
        with gui.connect(path, deadline) as stream:
            begun = begin(stream, screen, deadline, target=target, keyboard=keyboard)
            assert begun.connection.version is not None
            return Greeting(begun.connection.version, screen)
    except (ConnectionLost, DeadlineExceeded, RemoteProtocolError) as error:
        raise type(error)(f"{vm}: {error}") from error


def begin(
    stream: socket.socket,
    screen: XConf,
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
    if target is not None and keyboard is not None:
        hand_over_keyboard(target, keyboard)
    begun = GuiStream(stream, Connection(DAEMON, version))
    if not isinstance(begun.receive(deadline), Version):
        raise RemoteProtocolError("the agent did not send its version first")
    begun.send(screen, deadline)
    return begun
