"""What one running VM has, in the pillar's words: what the store holds of it, and the monitors that it shows."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from vminterface.channel.qrexec.program import program
from vminterface.dom0.desired.words import FIREWALL, FIREWALL_STORE, MONITORS
from vminterface.dom0.results import inwords
from vminterface.errors import InvalidValue, VMInterfaceError, printable

if TYPE_CHECKING:
    from vminterface.dom0.desired.shownfirewall import ShownFirewall
    from vminterface.dom0.inventory.observed import VMState

#: Seconds that a VM has to say which monitors it shows.
_MONITORS_WITHIN = 5.0


def of_vm(state: VMState, fields: Collection[str], *, keys: bool = False) -> dict[str, Any]:
    """Return :func:`inwords.held` of those *fields*, all where there are none, and the monitors that the VM shows.

    It is asked for these where they are among *fields*, and then raises its errors; where there are no *fields*
    and it cannot be asked, they are left out. They are not keys, so *keys* leaves them out, too. qubesd is asked for
    the firewall, which is in its store and in another VM's, where it is among *fields*. ``network`` and the other
    fields of which there are parts stand for all of them. Raises InvalidValue for a field that no pillar has.
    """
    if fields and not keys:
        _require_known(fields)
    found = {f: one for f, one in inwords.held(state, keys=keys).items() if not fields or is_of(f, fields)}
    # Imported where they are asked for: most looks at a VM need neither.
    if (FIREWALL_STORE if keys else FIREWALL) in fields:
        found |= inwords.firewall(_firewall(state.target.vm), keys=keys)
    if keys or (fields and MONITORS not in fields):
        return found
    try:
        # Before what understands the reply is loaded: hosts without Qubes have no such program.
        program()
        return dict(sorted({**found, **_monitors(state.target.vm, empty=bool(fields))}.items()))
    except VMInterfaceError:
        if fields:
            raise
        return found


def is_of(field: str, fields: Collection[str]) -> bool:
    """Return whether *field* is one of *fields* or a part of one of them."""
    return field in fields or field.partition(":")[0] in fields


def _require_known(fields: Collection[str]) -> None:
    from vminterface.dom0.desired.fields import suggest
    from vminterface.dom0.desired.settings import FIELD_NAMES

    for field in fields:
        if field.partition(":")[0] not in FIELD_NAMES:
            raise InvalidValue(f"{printable(field, 80)}: unknown field{suggest(field, FIELD_NAMES)}")


def _firewall(vm: str) -> ShownFirewall | None:
    from vminterface.dom0.inventory.qubesd import Qubesd
    from vminterface.dom0.push.persist import firewall

    return firewall.held(Qubesd(), vm)


def _monitors(vm: str, *, empty: bool) -> dict[str, Any]:
    """Return the monitors of *vm*, no entry where it has none unless *empty*. Raises as a call does."""
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.services import monitors

    layout = monitors.of_vm(Qrexec(), vm, timeout=_MONITORS_WITHIN).layout
    return {} if layout is None and not empty else {MONITORS: monitors.as_mappings(layout)}
