"""``qubes.DetachPciDevice``: have a VM let go of a PCI device before the hypervisor takes it away.

Source: Qubes core-agent-linux ``qubes.DetachPciDevice``.
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE
from vminterface.values.device import PciAddress as PciAddress

SERVICE = "qubes.DetachPciDevice"


def detach(qrexec: Qrexec, vm: str, address: PciAddress, *, timeout: float = 60.0) -> None:
    """Unbind the driver of the device that has *address* inside *vm*. Raises as :meth:`Qrexec.call`."""
    stdin = address.render().encode("ascii")
    qrexec.call(Call(vm, SERVICE, user="root", stdin=stdin, stdout_limit=NOISE, timeout=timeout))
