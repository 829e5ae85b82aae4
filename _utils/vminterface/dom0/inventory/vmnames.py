"""Whether qubesd knows the VMs that settings and calls name: a misspelt one would seem to be halted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import VMNotFound, VMNotRunning, VMStarting, printable, printable_value
from vminterface.keys import DEFAULT
from vminterface.values.vmname import is_dom0

if TYPE_CHECKING:
    from vminterface.dom0.desired.settings import VMSettings


def check(settings: VMSettings, qubesd: Qubesd) -> None:
    """Raise VMNotFound for a name that is not in qubesd's list; where that cannot be had, nothing is checked."""
    from vminterface.values import vmproperty

    named = {"": settings.vm, "netvm": settings.netvm, "base_template": settings.desired.get("base_template")}
    named.update({name: settings.persistent.get(name) for name, one in vmproperty.KNOWN.items() if one.of_vm})
    if settings.firewall is not None:
        named["firewall:netvm"] = settings.firewall.netvm
    for field, name in named.items():
        if name and name != DEFAULT:
            where = settings.path(field) if field else settings.where or settings.vm
            if error := unknown(name, where, qubesd):
                raise error


def check_list(vms: Collection[str], where: str) -> None:
    """Raise VMNotFound with every name of *vms* that is not in qubesd's list; *where* is what the list is called."""
    qubesd = Qubesd()
    errors = [error for vm in vms if (error := unknown(vm, where, qubesd))]
    if errors:
        raise VMNotFound("; ".join(map(str, errors)))


def unknown(name: object, where: str, qubesd: Qubesd) -> VMNotFound | None:
    """Return the error for a VM that is not in qubesd's list, None for one that is, or where that cannot be had."""
    if not isinstance(name, str) or is_dom0(name) or not qubesd.available:
        return None
    if (known := qubesd.names) is None or name in known:
        return None
    import difflib

    near = [vm for vm in sorted(known) if vm.lower() == name.lower()]
    near = near or difflib.get_close_matches(name, sorted(known), n=1)
    hint = f" (did you mean '{near[0]}'?)" if near else ""
    return VMNotFound(f"{f'{where}: ' if where else ''}qubesd does not know a VM '{printable(name, 60)}'{hint}")


@contextmanager
def explained(vm: object) -> Iterator[None]:
    """Raise VMNotFound, with the nearest name, for VMNotRunning or VMNotFound where *vm* is not in qubesd's list."""
    try:
        yield
    except VMStarting:
        raise
    except (VMNotRunning, VMNotFound) as error:
        raise unknown(vm, printable_value(vm), Qubesd()) or error from error
