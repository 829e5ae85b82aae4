"""States about the settings of VMs. In *test* nothing is written; ``changes`` has what would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.desired.settings import VMSettings, mentions, parse_pillar
from vminterface.dom0.desired.words import MONITORS
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import grants, push
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.results import clocks, returns
from vminterface.errors import InvalidValue, VMInterfaceError

State = dict[str, Any]
#: Options of a push in place of the pillar's: ``channel``, ``persist``, ``confirm``; None: the pillar's.
Options = Mapping[str, Any]


def all_configured(name: str, pillar: Any, only: Any, options: Options, *, source: str, test: bool) -> State:
    """Bring every running VM of *pillar* to its settings; *source* names in errors where the pillar comes from."""
    try:
        desired = [one.with_options(**options) for one in parse_pillar(pillar, only=only, source=source)]
        outcomes = pushed(desired, test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of_all(name, outcomes, test=test)


def all_monitors(name: str, pillar: Any, *, source: str, test: bool) -> State:
    """Push the monitors of every VM of *pillar* that has some; *source* as for :func:`all_configured`.

    It is that push with one field, but for VMs without monitors, which are left out.
    """
    try:
        # Most have no monitors, and the push has parsed all of the pillar already.
        some = mentions(pillar, MONITORS, source=source)
        desired = parse_pillar(pillar, only=[MONITORS], source=source) if some else []
        outcomes = pushed([one for one in desired if one.monitors is not None], test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of_all(name, outcomes, test=test)


def configured(name: str, pillar: Any, settings: Any, only: Any, options: Options, *, source: str, test: bool) -> State:
    """Bring the VM *name* to *settings*, a mapping as in the pillar; None: to its settings in *pillar*.

    *source* names in errors where the pillar comes from.
    """
    try:
        if settings is None:
            desired = parse_pillar(pillar, vm=name, only=only, source=source)[0]
        else:
            desired = VMSettings.parse(name, settings)
            desired = desired if only is None else desired.only(only)
        outcome = pushed([desired.with_options(**options)], test)[0]
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of(name, outcome, test=test)


def fields(
    name: str,
    raw: Mapping[str, Any],
    *,
    require_running: Any,
    timeout: Any,
    persist: Any = None,
    former: Mapping[str, Any] | None = None,
    test: bool,
) -> State:
    """Bring the VM *name* to *raw*, its fields as in the pillar. *require_running* and the like: None for defaults.

    *former* has values by field that were given by a parameter's former name, None for none.
    """
    options = {"require_running": require_running, "timeout": timeout, "persist": persist}
    try:
        for field, value in (former or {}).items():
            if value is not None and raw[field] is not None:
                raise InvalidValue("is also given by its former name (expected one of them)", f"{name}:{field}")
            raw = raw if value is None else {**raw, field: value}
        for field, value in raw.items():
            # In the pillar null takes a default back; a state that says it has lost its value.
            if value is None:
                raise InvalidValue("has no value (expected one)", f"{name}:{field}")
        given = {option: value for option, value in options.items() if value is not None}
        outcome = pushed([VMSettings.parse(name, {**raw, **given})], test)[0]
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of(name, outcome, test=test)


def properties(name: str, given: Mapping[str, Any], **how: Any) -> State:
    """Give the VM *name* those properties of *given* that are not None; *how* as for :func:`fields`."""
    desired = {field: value for field, value in given.items() if value is not None}
    if not desired:
        return returns.failure(name, InvalidValue(f"needs one of {', '.join(given)}", name))
    return fields(name, desired, **how)


def services(name: str, names: Any, desired: bool | str, **how: Any) -> State:
    """Switch services of the VM *name*, a list of names or one, as *desired*; *how* as for :func:`fields`."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        return returns.failure(
            name, InvalidValue("is not valid (expected a name or a list of names)", f"{name}:services")
        )
    return fields(name, {"services": dict.fromkeys(listed, desired)}, **how)


def addresses(name: str, field: str, given: Mapping[str, Any], none: Any, **how: Any) -> State:
    """Give the VM *name* what of *given* is not None as *field*, with *none* nothing; *how* as for :func:`fields`."""
    given = {part: value for part, value in given.items() if value is not None}
    if bool(given) == (none is True):
        error = InvalidValue("has both addresses and none: True, or neither (expected one of them)", f"{name}:{field}")
        return returns.failure(name, error)
    return fields(name, {field: given or "none"}, **how)


def all_reporting(name: str, vms: Any, *, test: bool) -> State:
    """Let *vms*, by default every VM that runs, write the XenStore nodes of their reports."""
    try:
        with Targets() as targets:
            given = grants.grant_all(targets, vms, test=test)
            running = targets.running()
    except VMInterfaceError as error:
        return returns.failure(name, error)
    changes = {vm: {"old": None, "new": f"may write {', '.join(keys)}"} for vm, keys in given.items()}
    done = "would be allowed" if test else "are allowed"
    comments = [f"{', '.join(given)} {done} to report" if given else "every running VM may already report"]
    comments += [f"{vm} is not running" for vm in vms or () if vm not in running]
    return returns.state(name, changes, "; ".join(comments), test=test)


def clock_synced(name: str, clock_vm: Any, network_vm: Any, vms: Any, *, test: bool) -> State:
    """Bring the clocks of *vms* to that of *clock_vm*, see :func:`clocks.clock_synced`."""
    try:
        outcomes = clocks.clock_synced(Qrexec(), clock_vm=clock_vm, network_vm=network_vm, vms=vms, test=test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of_all(name, outcomes, test=test)


def pushed(settings: Sequence[VMSettings], test: bool) -> list[Outcome]:
    """Push *settings*, in *test* mode only compare; return the outcome of each VM. Raises as :func:`push.push`."""
    run = push.diff if test else push.push
    with Targets.patient_for(settings) as targets:
        return run(settings, targets)
