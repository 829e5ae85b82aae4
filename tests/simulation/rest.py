"""What must hold once all writers have ended and all faults are over, and after the last push: of the host itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.simulation.host import Host
from tests.simulation.scenario import LAST, texts
from tests.simulation.trace import Died, Ended
from vminterface import keys
from vminterface.dom0.push.outcome import Outcome

#: Faults after which a store may hold a part of what was written.
LOSING = {"foreign write", "dom0's daemon restarts", "dom0's daemon dies", "vm's daemon restarts", "intruder"}


def at_rest(host: Host) -> Iterator[str]:
    """Yield what is wrong with VMs that nobody writes to any more."""
    kinds = {(fault.kind, fault.target) for fault in host.scenario.faults}
    ended = [one for one in host.trace.facts if isinstance(one, Ended)]
    died = any(isinstance(one, Died) for one in host.trace.facts)
    for vm in host.scenario.vms:
        losing = any((kind, vm) in kinds for kind in LOSING)
        # What qubesd has written over, and never kept itself, is not put back with it.
        by_qubesd = host.scenario.qubesd and any(one.kind == "keys" for one in host.scenario.actors)
        # What is pushed while it does not run comes with its next start, but for what qubesd does not keep.
        by_start = host.scenario.qubesd and not kinds.isdisjoint({("vm restarts", vm), ("vm ends", vm)})
        losing = losing or by_qubesd or by_start
        held = host.state(vm)
        if not losing and not any(one.vm == vm and one.refused for one in host.scenario.agents):
            yield from _applied(host, vm, "at rest")
        yield from _announced(host, vm)
        unsure = (died and host.on_qubesdb) or losing or any(one.vm == vm and one.restored is False for one in ended)
        choices = [texts(vm, one.choice, host.scenario.fields) for a in host.scenario.actors for one in a.rounds]
        known = [{name: text for name, text in one.items() if text is not None} for one in choices]
        if held and not unsure and dict(held) not in known:
            yield f"at rest {vm} holds what is nobody's: {dict(held)}"


def after_push(host: Host, outcomes: Sequence[Outcome], *, again: bool) -> Iterator[str]:
    """Yield what is wrong after the last push, which must give every VM its settings, or the one after it."""
    for one in outcomes:
        if not one.ok:
            yield f"the last push{' but one' if not again else ''} fails: {one.comment()}"
        elif again and one.changes:
            yield f"the push after the last changes something: {one.comment()}"
    for vm in host.scenario.vms:
        wanted = {name: text for name, text in texts(vm, LAST, host.scenario.fields).items() if text is not None}
        if dict(host.state(vm)) != wanted:
            yield f"after the last push {vm} holds {dict(host.state(vm))}"
        # What was refused before is asked for again where dom0 has heard that.
        heard = host.on_qubesdb or _has_node(host, vm, keys.ACKNOWLEDGEMENTS)
        if heard or not any(one.vm == vm and one.refused for one in host.scenario.agents):
            yield from _applied(host, vm, "after the last push")


def _has_node(host: Host, vm: str, name: str) -> bool:
    """Whether the VM has that key in the XenStore; dom0 gives an agent its place for answers there when it writes."""
    return f"/local/domain/{host.domids[vm]}/{name}" in host.xenstored.nodes


def _announced(host: Host, vm: str) -> Iterator[str]:
    """Yield where an agent runs, may say so to dom0, and has not."""
    may = not host.on_qubesdb and _has_node(host, vm, keys.ACKNOWLEDGEMENTS)
    if may and host.agents[vm].process is not None and not _has_node(host, vm, keys.AGENT):
        yield f"at rest dom0 does not know of the agent of {vm}"


def _applied(host: Host, vm: str, when: str) -> Iterator[str]:
    """Yield where the agent has applied something else than the store holds."""
    held, fields = host.state(vm), texts(vm, 0, host.scenario.fields)
    for setting in sorted(keys.settings_of(texts(vm, 0, host.scenario.fields))):
        inputs, applied = keys.inputs_of(setting, held), host.agents[vm].applied.get(setting, {})
        # qubesd adds what outlasts the VM.
        has = {name: text for name, text in applied.items() if name in fields}
        if inputs != has:
            yield f"{when} the agent of {vm} has {setting} {has}, the store {inputs}"
