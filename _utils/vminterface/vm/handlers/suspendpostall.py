"""``qubes.SuspendPostAll``: run this VM's own programs after the whole machine has been resumed.

No input, no output. The programs are the executable ``*.sh`` of ``/etc/qubes/suspend-post.d``. After Qubes
core-agent-linux's ``qubes.SuspendPostAll``; dom0 calls it in every VM, whether it has devices or not.
"""

from __future__ import annotations

from vminterface.vm.handlers.runtime import hooks
from vminterface.vm.handlers.runtime.call import Call

FOLDER = "/etc/qubes/suspend-post.d"


def handle(call: Call) -> None:
    """Run them. Raises VMInterfaceError that names each one that failed."""
    hooks.run(call, FOLDER)
