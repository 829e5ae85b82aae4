"""``qubes.DetachPciDevice``: let this VM's driver go of a device that dom0 is about to take away.

Input: the address inside the VM, as in ``00:06.0``; a line's end may follow, though dom0 sends none. No output.
After Qubes core-agent-linux's ``qubes.DetachPciDevice``, which checks nothing of what it puts into a path of sysfs.
"""

from __future__ import annotations

from vminterface.errors import VMInterfaceError
from vminterface.values.device import PciAddress
from vminterface.vm.handlers.runtime.call import Call

DEVICES = "/sys/bus/pci/devices"
_LIMIT = 64


def handle(call: Call) -> None:
    """Unbind the device. Raises InvalidValue, VMInterfaceError (no such device, no driver has it, not allowed to)."""
    call.refuse_argument()
    name = PciAddress.parse(call.read_all(_LIMIT).decode("latin-1").removesuffix("\n")).sysfs_name
    device = f"{DEVICES}/{name}"
    if not call.machine.exists(device):
        raise VMInterfaceError(f"this VM has no PCI device {name}")
    if not call.machine.exists(f"{device}/driver"):
        raise VMInterfaceError(f"no driver of this VM uses the PCI device {name}")
    call.machine.write_attribute(f"{device}/driver/unbind", name)
