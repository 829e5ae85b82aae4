"""``qubes.SetGuiMode``: one window for a full-virtualised VM's whole desktop, or one for each of its windows.

Source: Qubes core-agent-windows ``set-gui-mode``.
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE
from vminterface.values.guimode import GuiMode as GuiMode

SERVICE = "qubes.SetGuiMode"


def set_mode(qrexec: Qrexec, vm: str, mode: GuiMode, *, timeout: float = 20.0) -> None:
    """Give *vm* the GUI *mode*. Raises as :meth:`Qrexec.call`."""
    qrexec.call(Call(vm, SERVICE, stdin=mode.render().encode("ascii"), stdout_limit=NOISE, timeout=timeout))
