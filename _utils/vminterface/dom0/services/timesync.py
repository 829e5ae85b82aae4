"""``qubes.SyncNtpClock``: have the VM that keeps the time ask the network for it.

Source: Qubes core-agent-linux ``sync-ntp-clock`` of R2 and R3; later releases have no such service, there the VM
keeps its time by itself.
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE

SERVICE = "qubes.SyncNtpClock"


def sync_ntp_clock(qrexec: Qrexec, vm: str, *, timeout: float = 60.0) -> None:
    """Let *vm* set its clock from the network. Raises ServiceNotFound (R4), else as :meth:`Qrexec.call`."""
    qrexec.call(Call(vm, SERVICE, user="root", stdout_limit=NOISE, timeout=timeout))
