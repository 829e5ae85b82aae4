"""``qubes.GetAppmenus``: which applications a VM offers for dom0's menu.

Sources: Qubes core-agent-linux ``qubes.GetAppmenus``, desktop-linux-common ``qubesappmenus/receive.py`` (limits).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import accepted
from vminterface.values.appmenu import REPLY_LIMIT, MenuEntries

SERVICE = "qubes.GetAppmenus"


def get(qrexec: Qrexec, vm: str, *, timeout: float = 60.0) -> MenuEntries:
    """Return the menu entries of *vm*, every value checked; what its handler notes is one of their warnings.

    Raises as :meth:`Qrexec.call`, RemoteProtocolError.
    """
    reply = qrexec.call(Call(vm, SERVICE, stdout_limit=REPLY_LIMIT, timeout=timeout))
    found = accepted(vm, SERVICE, MenuEntries.parse, reply)
    note = reply.stderr.strip().partition("\n")[0]
    return replace(found, warnings=(*found.warnings, note)) if note else found


def as_data(found: MenuEntries) -> dict[str, Any]:
    """Return *found* as plain data: ``entries``, the values of each by its id, ``dropped`` and ``warnings``."""
    entries = {entry.id: dict(entry.values) for entry in found}
    return {"entries": entries, "dropped": found.dropped, "warnings": list(found.warnings)}
