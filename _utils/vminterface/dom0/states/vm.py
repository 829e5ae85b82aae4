"""States about what dom0 tells its VMs. In *test* nothing is written; ``changes`` says what would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0 import introduce, push, returns
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.settings import VMSettings, parse_pillar
from vminterface.dom0.steps import clocks
from vminterface.dom0.targets import Targets
from vminterface.errors import InvalidValue, VMInterfaceError

State = dict[str, Any]
#: Options of a push in place of the pillar's: ``channel``, ``persist``, ``confirm``; None: the pillar's.
Options = Mapping[str, Any]


def all_configured(
    name: str, pillar: Any, only: Any, options: Options, *, source: str, state_id: str, test: bool
) -> State:
    """Bring every running VM of *pillar* to its settings; *state_id* is what the VMs' own lines start with.

    *source* says in errors where the pillar comes from.
    """
    try:
        wanted = [one.with_options(**options) for one in parse_pillar(pillar, only=only, source=source)]
        outcomes = _pushed(wanted, test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of_all(name, outcomes, test=test, state_id=state_id)


def configured(name: str, pillar: Any, settings: Any, only: Any, options: Options, *, source: str, test: bool) -> State:
    """Bring the VM *name* to *settings*, a mapping as in the pillar; None: to what *pillar* says of it.

    *source* says in errors where the pillar comes from.
    """
    try:
        if settings is None:
            wanted = parse_pillar(pillar, vm=name, only=only, source=source)[0]
        else:
            wanted = VMSettings.parse(name, settings)
            wanted = wanted if only is None else wanted.only(only)
        outcome = _pushed([wanted.with_options(**options)], test)[0]
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of(name, outcome, test=test)


def fields(name: str, raw: Mapping[str, Any], *, require_running: Any, timeout: Any, test: bool) -> State:
    """Bring the VM *name* to *raw*, its fields as in the pillar. *require_running* and *timeout*: None for defaults."""
    options = {"require_running": require_running, "timeout": timeout}
    try:
        for field, value in raw.items():
            # In the pillar null takes a default back; a state that says it has lost its value.
            if value is None:
                raise InvalidValue("expected a value, found none", f"{name}:{field}")
        given = {option: value for option, value in options.items() if value is not None}
        outcome = _pushed([VMSettings.parse(name, {**raw, **given})], test)[0]
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of(name, outcome, test=test)


def services(name: str, names: Any, wanted: bool | str, **how: Any) -> State:
    """Switch services of the VM *name*, a list of names or one, as *wanted*; *how* as for :func:`fields`."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        return returns.failure(name, InvalidValue("expected a name or a list of names", f"{name}:services"))
    return fields(name, {"services": dict.fromkeys(listed, wanted)}, **how)


def addresses(name: str, field: str, given: Mapping[str, Any], none: Any, **how: Any) -> State:
    """Give the VM *name* what of *given* is not None as *field*, with *none* nothing; *how* as for :func:`fields`."""
    given = {part: value for part, value in given.items() if value is not None}
    if bool(given) == (none is True):
        fault = InvalidValue("expected addresses, or none: True, and not both", f"{name}:{field}")
        return returns.failure(name, fault)
    return fields(name, {field: given or "none"}, **how)


def all_reporting(name: str, vms: Any, *, test: bool) -> State:
    """Let *vms*, by default every VM that runs, write the XenStore nodes of their reports."""
    try:
        with Targets() as targets:
            given = introduce.introduce_all(targets, vms, test=test)
            running = targets.running()
    except VMInterfaceError as error:
        return returns.failure(name, error)
    changes = {vm: {"old": None, "new": f"may write {', '.join(keys)}"} for vm, keys in given.items()}
    done = "would be allowed" if test else "are allowed"
    comments = [f"{', '.join(given)} {done} to report" if given else "every VM that runs may report already"]
    comments += [f"{vm} is not running" for vm in vms or () if vm not in running]
    return returns.state(name, changes, "; ".join(comments), test=test)


def clock_synced(name: str, clock_vm: Any, network_vm: Any, vms: Any, *, state_id: str, test: bool) -> State:
    """Bring the clocks of *vms* to that of *clock_vm*, see :func:`clocks.clock_synced`."""
    try:
        outcomes = clocks.clock_synced(Qrexec(), clock_vm=clock_vm, network_vm=network_vm, vms=vms, test=test)
    except VMInterfaceError as error:
        return returns.failure(name, error)
    return returns.state_of_all(name, outcomes, test=test, state_id=state_id, function=("qubes_rpc", "clock_set"))


def _pushed(settings: Sequence[VMSettings], test: bool) -> list[Outcome]:
    run = push.diff if test else push.push
    with Targets() as targets:
        return run(settings, targets)
