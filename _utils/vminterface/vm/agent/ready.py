"""Notifies whoever started the agent that it runs: systemd (sd_notify(3)), or a script that reads its output."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

#: Where systemd listens; a name that starts with ``@`` is in the abstract namespace.
_SOCKET = "NOTIFY_SOCKET"


def notify_running() -> None:
    """Send the notification once. A receiver is optional."""
    with suppress(OSError):
        print("vminterface agent: running", flush=True)
    if not (address := os.environ.pop(_SOCKET, "")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as stream:
        stream.sendto(b"READY=1", address)
