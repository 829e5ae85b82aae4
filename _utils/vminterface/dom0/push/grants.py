"""Gives a VM the XenStore nodes that it may write: for its agent's answers and for its reports, as R2's dom0 did.

A node that is there keeps its value and its other readers. In QubesDB a VM may write every key, so nothing is given.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from vminterface import keys
from vminterface.channel.store import GetPermissions, KeyStore, SetPermissions, Write
from vminterface.dom0.inventory import vmnames
from vminterface.dom0.inventory.targets import Targets
from vminterface.errors import InvalidValue, KeyNotFound, VMInterfaceError
from vminterface.values import featurerequest
from vminterface.values.vmname import VMName, refuse_dom0

#: Keys that the VM writes. Of ``memory`` these two alone: the others there are the toolstack's.
GIVEN = (
    keys.ACKNOWLEDGEMENTS,
    "memory/meminfo",
    "memory/swapinfo",
    "qubes-block-devices",
    "qubes-usb-devices",
    featurerequest.FOLDER,
    featurerequest.TOOLS_FOLDER,
)


def grant(store: KeyStore, domid: int, base: str) -> tuple[str, ...]:
    """Let domain *domid*, whose keys start with *base*, write what it has to; return the names that it could not yet.

    Do it in a transaction: a node is the VM's at once or not at all. Raises the store's refusals.
    """
    lacking = missing(store, domid, base)
    operations: list[Write | SetPermissions] = []
    for name, permissions in lacking.items():
        if permissions is None:
            operations.append(Write(base + name, b""))
        # The first entry is the owner, with what everyone else may do: nothing.
        others = tuple(entry for entry in (permissions or [])[1:] if entry[1:] != str(domid))
        operations.append(SetPermissions(base + name, (f"n{domid}", *others)))
    for outcome in store.batch(operations):
        if isinstance(outcome, VMInterfaceError):
            raise outcome
    return tuple(lacking)


def missing(store: KeyStore, domid: int, base: str) -> dict[str, list[str] | None]:
    """Return the permissions of each key that the VM cannot write, None for one that is not there."""
    lacking: dict[str, list[str] | None] = {}
    for name, permissions in zip(GIVEN, store.batch([GetPermissions(base + name) for name in GIVEN]), strict=True):
        if isinstance(permissions, KeyNotFound):
            lacking[name] = None
        elif isinstance(permissions, VMInterfaceError):
            raise permissions
        elif permissions[0][1:] != str(domid) and not {f"w{domid}", f"b{domid}"} & set(permissions[1:]):
            lacking[name] = permissions
    return lacking


def grant_all(
    targets: Targets, vms: Collection[str] | None = None, *, test: bool = False
) -> dict[str, tuple[str, ...]]:
    """Introduce *vms*, by default every VM that runs; return by VM the names that it could not write until now.

    VMs that do not run, have a QubesDB, or lack nothing are left out. *test*: nothing is written. Raises InvalidValue
    for anything but a list of VM names, VMNotFound for names that qubesd does not know, and the XenStore's errors.
    """
    if vms is not None and (not isinstance(vms, list | tuple | set) or not all(isinstance(vm, str) for vm in vms)):
        raise InvalidValue("vms: is not a list (expected VM names)")
    for vm in vms or ():
        refuse_dom0(vm)
        VMName.parse(vm)
    vmnames.check_list(vms or (), "vms")
    found: dict[str, tuple[str, ...]] = {}
    for vm, target in sorted(targets.on_xenstore(targets.running()).items()):
        domid, base = target.domid, target.base
        if domid is None or (vms is not None and vm not in vms):
            continue
        if lacking := tuple(missing(target.store, domid, base)):
            found[vm] = lacking
            if not test:
                target.store.transaction(partial(grant, domid=domid, base=base))
    return found
