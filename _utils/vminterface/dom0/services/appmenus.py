"""``qubes.GetAppmenus``: which applications a VM offers for dom0's menu.

Sources: Qubes core-agent-linux ``qubes.GetAppmenus``, desktop-linux-common ``qubesappmenus/receive.py`` (limits).
"""

from __future__ import annotations

from dataclasses import replace

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.services.answer import accepted
from vminterface.values.appmenu import ANSWER_LIMIT, MenuEntries

SERVICE = "qubes.GetAppmenus"


def get(qrexec: Qrexec, vm: str, *, timeout: float = 60.0) -> MenuEntries:
    """Return the menu entries of *vm*, every value checked; what its handler notes is one of their warnings.

    Raises as :meth:`Qrexec.call`, RemoteProtocolError.
    """
    answer = qrexec.call(vm, SERVICE, stdout_limit=ANSWER_LIMIT, timeout=timeout)
    found = accepted(vm, SERVICE, MenuEntries.parse, answer)
    note = answer.stderr.strip().partition("\n")[0]
    return replace(found, warnings=(*found.warnings, note)) if note else found
