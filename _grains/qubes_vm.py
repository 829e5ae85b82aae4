"""
What this VM is, as dom0 told it: grain ``qubes_vm`` with ``type``, ``name``, ``ip``, ``gateway`` (the address of its
netvm) and ``services``. Nothing in dom0 and on machines that are no VM of a Qubes host.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

import logging

try:
    from vminterface.channel.qubesdb import QubesDB
    from vminterface.channel.qubesdb_connection import find_socket
    from vminterface.channel.xenstore import XenStore
    from vminterface.errors import ConnectionLost, VMInterfaceError
    from vminterface.vm import facts as _facts

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

log = logging.getLogger(__name__)

# Grains are computed before anything else is done: a store that hangs must not hold a minion up.
TIMEOUT = 1.0


def __virtual__():
    if MISSING:
        return False, f"qubes_vm: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return True


def qubes_vm():
    """
    Return the grain ``qubes_vm``.

    CLI Example:

    .. code-block:: bash

        salt-call grains.get qubes_vm:services
    """
    try:
        with XenStore.open(timeout=TIMEOUT) if find_socket() is None else QubesDB.open(timeout=TIMEOUT) as store:
            facts = _facts.read(store)
    except ConnectionLost:
        return {}  # no VM of Xen
    except VMInterfaceError as error:
        log.warning("grain qubes_vm: %s", error)
        return {}
    return {"qubes_vm": facts} if facts else {}
