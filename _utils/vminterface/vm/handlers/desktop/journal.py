"""Where the messages of a program go that lives on after its call: to the VM's journal, as a session's programs' do.

Its caller's streams would not do: a program that writes to a caller that has gone is ended. Source of the protocol:
systemd's ``sd_journal_stream_fd(3)``, a line each for the name, the unit, the priority, and four switches.
"""

from __future__ import annotations

import os
import socket

from vminterface.vm.machine.files import Files

SOCKET = "/run/systemd/journal/stdout"
#: As long as systemd's own names may be.
_NAME_LIMIT = 255
_INFORMATION = 6


def open_journal(machine: Files, name: str) -> int:
    """Return a descriptor whose lines the journal keeps under *name*; without a journal, they are dropped."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as stream:
        try:
            stream.settimeout(1.0)
            stream.connect(machine.path(SOCKET))
            stream.shutdown(socket.SHUT_RD)
            stream.sendall(f"{name[:_NAME_LIMIT]}\n\n{_INFORMATION}\n0\n0\n0\n0\n".encode("ascii", "replace"))
            stream.settimeout(None)
            return stream.detach()
        except OSError:
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
