"""The VM's end of a GUI connection's beginning: sends its version, receives the screen and records it.

Order and forms are those of Qubes ``qubes-gui`` (gui-agent-linux ``vmside.c``).
"""

from __future__ import annotations

import socket

from vminterface.channel.gui import GuiStream
from vminterface.deadline import Deadline
from vminterface.errors import RemoteProtocolError
from vminterface.vm.machine import screen
from vminterface.vm.machine.files import Files
from vminterface.wire.gui import AGENT, CURRENT, Connection, Version, XConf


def begin(stream: socket.socket, machine: Files, deadline: Deadline, *, version: Version = CURRENT) -> GuiStream:
    """Speak to the daemon at the other end of *stream* until the screen is known and recorded.

    Returns the connection for messages. Raises RemoteProtocolError for a daemon that speaks no version of ours or
    describes no screen (nothing is recorded then), DeadlineExceeded and ConnectionLost.
    """
    gui = GuiStream(stream, Connection(AGENT, version))
    gui.send(version, deadline)
    event = gui.receive(deadline)
    if isinstance(event, Version):
        event = gui.receive(deadline)
    if not isinstance(event, XConf):
        raise RemoteProtocolError("the daemon did not send the size of the screen")
    screen.record(machine, event.width, event.height, "xconf")
    return gui
