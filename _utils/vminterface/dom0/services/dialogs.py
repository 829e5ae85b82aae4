"""``qubes.SelectFile`` and ``qubes.SelectDirectory``: let the user choose a path in a VM.

Sources: Qubes core-agent-linux (handlers), qubes-manager ``utils.py`` (what dom0 takes).
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import accepted
from vminterface.errors import ServiceFailed
from vminterface.values import selectedpath

FILE = "qubes.SelectFile"
DIRECTORY = "qubes.SelectDirectory"
#: The status of a dialogue that the user has closed without a choice.
_CANCELLED = 1


def select_file(qrexec: Qrexec, vm: str, *, timeout: float = 600.0) -> str | None:
    """Return the file that the user of *vm* chose, None if the dialogue was cancelled.

    Raises RemoteProtocolError for a path that dom0 does not take, DeadlineExceeded after *timeout* seconds, else as
    :meth:`Qrexec.call`.
    """
    return _ask(qrexec, vm, FILE, timeout)


def select_directory(qrexec: Qrexec, vm: str, *, timeout: float = 600.0) -> str | None:
    """Return the folder that the user of *vm* chose, None if the dialogue was cancelled. Raises as select_file."""
    return _ask(qrexec, vm, DIRECTORY, timeout)


def _ask(qrexec: Qrexec, vm: str, service: str, timeout: float) -> str | None:
    try:
        reply = qrexec.call(Call(vm, service, stdout_limit=selectedpath.LIMIT + 1, timeout=timeout))
    except ServiceFailed as error:
        # A handler that could not show the dialogue says so in a line that begins with the service's name.
        if error.status == _CANCELLED and not error.stderr.startswith(f"{service}:"):
            return None
        raise
    return accepted(vm, service, selectedpath.parse, reply)
