"""
The settings of this VM from dom0: grain ``qubes_vm`` with ``type``, ``name``, ``ip``, ``gateway`` (the address of its
netvm) and ``services``. Nothing in dom0 and on machines that are not VMs of a Qubes host.

Needs the library ``vminterface``: synced from ``_utils``, installed as a package, or, as over ``salt-ssh``, where
``vminterface.agent`` has put it in the VM (``/usr/lib/vminterface``).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

log = logging.getLogger(__name__)

# Grains are computed before anything else is done: a store that hangs must not hold a minion up.
TIMEOUT = 1.0
#: Where the states in VMs, and the packages, put the library, in a folder for it alone.
INSTALLED = "/usr/lib/vminterface"


def __virtual__() -> bool | tuple[bool, str]:
    # Every salt-call of a host computes grains: more is imported only where there may be something to read.
    try:
        import vminterface  # noqa: F401
    except ImportError as error:
        # salt-ssh brings this file without the library; a VM with the agent has it.
        if not os.path.isfile(f"{INSTALLED}/vminterface/__init__.py"):
            return False, f"qubes_vm: the library vminterface cannot be imported ({error}); run saltutil.sync_all"
        sys.path.append(INSTALLED)
    return True


def qubes_vm() -> dict[str, Any]:
    """
    Return the grain ``qubes_vm``.

    CLI Example:

    .. code-block:: bash

        salt-call grains.get qubes_vm:services
    """
    from vminterface.vm.machine import controldomain, files

    if controldomain.sign(files.Files()):
        return {}
    from vminterface.channel.qubesdb.places import find_socket
    from vminterface.channel.qubesdb.store import QubesDB
    from vminterface.channel.xenstore.store import XenStore
    from vminterface.errors import ConnectionLost, VMInterfaceError
    from vminterface.vm.machine import facts as _facts

    try:
        with XenStore.open(timeout=TIMEOUT) if find_socket() is None else QubesDB.open(timeout=TIMEOUT) as store:
            facts = _facts.read(store)
    except ConnectionLost:
        return {}  # no VM of Xen
    except VMInterfaceError as error:
        log.warning("grain qubes_vm: %s", error)
        return {}
    return {"qubes_vm": facts} if facts else {}
