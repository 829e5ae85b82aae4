"""Export what VMs have now: the pillar of a machine that has none yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.export import persistent, stores
from vminterface.dom0.export.settle import settle
from vminterface.dom0.export.vmexport import VMExport
from vminterface.dom0.inventory import observed, vmnames
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.inventory.targets import Targets
from vminterface.errors import InvalidValue, VMInterfaceError, printable
from vminterface.regex import regex
from vminterface.values.vmname import VMName, refuse_dom0

#: What Qubes calls a disposable VM that is gone after its last program.
_DISPOSABLE = regex(r"disp[0-9]{1,5}")


def export(
    targets: Targets, vms: Collection[str] = (), *, note: Callable[[str], object] = lambda text: None
) -> list[VMExport]:
    """Return what *vms* have, by default all that run and all that qubesd knows, in the order of their names.

    *note* is called with what is being done.

    An error of a single VM is its ``error``. Raises InvalidValue for dom0, and the errors
    of the XenStore and, of the list of VMs, those of AdminAPI.
    """
    for vm in vms:
        refuse_dom0(vm)
    qubesd = Qubesd()
    classes: Mapping[str, str] = {}
    if qubesd.available:
        classes = {name: one.klass for name, one in AdminAPI.open().domains().items()}
    running = targets.running()
    chosen = sorted({*vms} or {*running, *classes})
    found = {vm: VMExport(vm) for vm in chosen}
    states, errors = observed.observe(targets, [vm for vm in chosen if vm in running])
    for number, (vm, one) in enumerate(found.items(), 1):
        note(f"{vm}, {number} of {len(found)}")
        if classes.get(vm) == "DispVM" and _DISPOSABLE.fullmatch(vm):
            one.error, one.expected = "a disposable VM, which is lost when it stops", True
            continue
        try:
            VMName.parse(vm)
            if vm in errors:
                raise errors[vm]
            if vm in states:
                stores.take(states[vm], one)
            elif vm not in classes:
                raise vmnames.unknown(vm, "", qubesd) or targets.not_running(vm)
            else:
                one.notes.append("not running: only what qubesd stores")
            if vm in classes:
                persistent.take(qubesd, vm, one)
        except VMInterfaceError as error:
            one.fail(str(error))
    note("comparing")
    settle([*found.values()], targets)
    return [*([] if vms else map(_nameless, sorted(targets.unspoken()))), *found.values()]


def _nameless(untrusted_name: bytes) -> VMExport:
    """Return what is exported of a domain whose name is no text: why there is nothing of it."""
    name = untrusted_name.decode("latin-1")
    one = VMExport(printable(name) or "''")
    try:
        VMName.parse(name)
    except InvalidValue as error:
        one.fail(str(error))
    return one
