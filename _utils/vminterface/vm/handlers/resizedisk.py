"""``qubes.ResizeDisk``: let the file system of a volume that dom0 has enlarged fill it.

Input: ``private`` or ``root``; a line's end may follow, though dom0 sends none. No output. After Qubes
core-agent-linux's ``qubes.ResizeDisk`` and ``resize-rootfs``: the private volume is a file system, the root volume one
too, or a disk whose third partition holds it, which may in turn be below a device mapper's linear table.
"""

from __future__ import annotations

import os

from vminterface.values.volume import Volume
from vminterface.vm.handlers.runtime import config
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.blockdevice import TIMEOUT, grow_file_system, grow_table, notice_size

_DEFAULTS = {
    Volume.PRIVATE: (config.PRIVATE_DEVICE, "/dev/xvdb"),
    Volume.ROOT: (config.ROOT_DEVICE, "/dev/xvda"),
}
#: What the root volume's file system is mounted from.
DMROOT = "/dev/mapper/dmroot"
_LIMIT = 64


def handle(call: Call) -> None:
    """Enlarge the volume's file system. Raises InvalidValue, VMInterfaceError (which names device and reason)."""
    call.refuse_argument()
    call.within(TIMEOUT)
    volume = Volume.parse(call.read_all(_LIMIT).decode("latin-1").removesuffix("\n"))
    machine = call.machine
    name, default = _DEFAULTS[volume]
    disk = config.option(machine, name, default)
    notice_size(machine, disk)
    device = disk
    if volume is Volume.ROOT and machine.exists(DMROOT):
        device = DMROOT
        grow_table(machine, disk, os.path.realpath(machine.path(DMROOT)))
    grow_file_system(machine, device)
