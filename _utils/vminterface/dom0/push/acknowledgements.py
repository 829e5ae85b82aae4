"""Did they listen? Waits for the acknowledgements of many VMs' agents together, each VM with its own deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from vminterface import keys
from vminterface.channel.store import Read
from vminterface.deadline import Deadline
from vminterface.dom0.inventory import observed
from vminterface.dom0.push.interrupt import NOTICED_WITHIN
from vminterface.dom0.push.outcome import Work
from vminterface.errors import DeadlineExceeded, Interrupted, KeyNotFound, SettingRefused, VMInterfaceError
from vminterface.values.acceptance import ACCEPT
from vminterface.values.acknowledgement import UNCHANGED, digest

#: Part of a VM's time in which an agent that was already waiting announces itself once dom0 has made the node for it.
INTRODUCTION = 0.4

NOT_AWAITED = "the agent's acknowledgement was not waited for"


def check(work: Work) -> set[str]:
    """Return the settings that the agent still has to acknowledge; a refusal becomes the VM's error.

    A setting is acknowledged when its digest is that of what the store holds now. An acknowledgement to an earlier push
    with the same values is none to this, as each push takes those away that it asks for anew. It counts without an
    announcement too: dom0's QubesDB daemon loses that when it starts afresh.
    """
    agent = work.state.agent
    pending = set()
    changed = keys.settings_of(work.outcome.changes) | work.by_qubesd
    promised = agent.settings if agent is not None else frozenset(work.state.acknowledgements)
    for setting in sorted(keys.settings_of(work.settings.desired) & promised):
        inputs = work.state.inputs(setting)
        if not inputs and setting not in changed:
            continue
        reply = work.state.acknowledgements.get(setting)
        if reply is None or reply.digest != digest(inputs):
            if agent is not None:
                pending.add(setting)
        elif reply.owner != ACCEPT:
            # An older word of the VM's owner: where that still holds, it is announced.
            if agent is not None:
                pending.add(setting)
        elif not reply.accepted:
            work.fail(SettingRefused(f"{work.target.vm} refused {setting}: {reply.note}"))
    return pending


def is_unread(work: Work) -> bool:
    """Whether the VM's agent has not acknowledged what the store holds: it is still at it, or nobody reads there."""
    agent = work.state.agent
    return agent is not None and any(
        (inputs := work.state.inputs(setting))
        and ((reply := work.state.acknowledgements.get(setting)) is None or reply.digest != digest(inputs))
        for setting in keys.settings_of(work.settings.desired) & agent.settings
    )


def unacknowledged(work: Work) -> set[str]:
    """Return the settings that this push has changed and that no agent has acknowledged."""
    return {
        setting
        for setting in keys.settings_of(work.outcome.changes) | work.by_qubesd
        if (reply := work.state.acknowledgements.get(setting)) is None
        # Whether the VM's owner lets it be is announced, which comes after the acknowledgements.
        or reply.owner != ACCEPT
        or reply.digest != digest(work.state.inputs(setting))
    }


def to_be_given_anew(work: Work) -> set[str]:
    """Return the settings whose acknowledgement is to be taken away when this push writes.

    Those that change, be it by qubesd's hand; and those that do not but were refused: the cause may be gone, and only
    the agent knows. Where the store has lost its keys, which others may have written again since, those of which the
    acknowledgement is lost too: the VM still has it, so that the agent sees no reason to write it. And those that are
    contradicted.
    """
    refused = {
        setting
        for setting in keys.settings_of(work.settings.desired)
        if (reply := work.state.acknowledgements.get(setting)) is not None
        and not reply.accepted
        and reply.digest == digest(work.state.inputs(setting))
    }
    found = keys.settings_of(work.outcome.changes) | work.by_qubesd | refused | contradicted(work)
    agent = work.state.agent
    if work.state.afresh and (found or agent is not None):
        lost = keys.settings_of(work.settings.desired) - work.state.acknowledgements.keys()
        found |= {one for one in lost if work.state.inputs(one) and (agent is None or one in agent.settings)}
    return given(work, found)


def contradicted(work: Work) -> set[str]:
    """Return the settings of which the VM's agent has seen other keys than the VM's QubesDB has in dom0.

    Each of the two daemons takes what is written on its side at once, and then what the other one sends: where both
    sides write a key at the same time, each is left with the other's value. What dom0 writes after that is sent again.
    """
    agent = work.state.agent
    if agent is None or not work.target.store.per_vm:
        return set()
    promised = keys.settings_of(work.settings.desired) & agent.settings
    return {setting for setting in promised if _is_of_other_keys(work, setting)}


def given(work: Work, settings: Collection[str]) -> set[str]:
    """Return those of *settings* that are acknowledged, or that the VM's agent acknowledges.

    All of them where the store has lost its keys: an agent that is there sees so that dom0 has not got its answers.
    """
    promised = frozenset() if work.state.agent is None else work.state.agent.settings
    return {one for one in settings if work.state.afresh or one in promised or one in work.state.acknowledgements}


def wait(works: Sequence[Work], stop: threading.Event, settled: Callable[[Work], None]) -> None:
    """Wait until every VM of *works* (all of one store) has acknowledged its settings, refused one, or run late.

    *settled* is called with each of *works* as soon as that is so, or where something has failed, while others are
    still waited for. When *stop* is set, those that are still waited for fail with Interrupted.
    """
    pending = {work.target.vm: work for work in works if unsettled(work)}
    started = Deadline.after(0.0)
    deadlines = {vm: Deadline(started.expires + w.settings.timeout, w.settings.timeout) for vm, w in pending.items()}
    graces = {vm: Deadline(started.expires + d.seconds * INTRODUCTION, d.seconds) for vm, d in deadlines.items()}
    by_path = {work.target.path(keys.ACKNOWLEDGEMENTS): work for work in pending.values()}
    for work in works:
        if work.target.vm not in pending:
            settled(work)
    if not pending:
        return
    try:
        with works[0].target.store.watch(by_path) as watch:
            while pending:
                soonest = min(
                    ((graces if work.state.agent is None else deadlines)[vm] for vm, work in pending.items()),
                    key=lambda deadline: deadline.expires,
                )
                try:
                    events = watch.next(Deadline.after(min(soonest.remaining, NOTICED_WITHIN)))
                except DeadlineExceeded:
                    events = []
                ended = stop.is_set()
                if ended or soonest.passed:
                    _read(pending.values())
                elif events:
                    # What a VM whose time is over says now is not checked any more, so it is not to be reported either.
                    said = {vm for e in events if (vm := by_path[e.registered].target.vm) in pending}
                    _read([pending[vm] for vm in sorted(said)])
                else:
                    continue
                done = [vm for vm, work in pending.items() if _settled_by_now(work, deadlines[vm], graces[vm])]
                if ended:
                    for vm in pending.keys() - done:
                        waiting = ", ".join(sorted(check(pending[vm]))) or "its settings"
                        pending[vm].fail(Interrupted(f"{vm}: interrupted before the agent acknowledged {waiting}"))
                    done = list(pending)
                # It may take a while, in which nobody else's time is to be over unseen.
                for vm in done:
                    settled(pending.pop(vm))
    except VMInterfaceError as error:
        for work in pending.values():
            work.fail(error)
            settled(work)


def note(works: Sequence[Work]) -> None:
    """Note in the outcomes of *works* whose acknowledgement of what this push changes was awaited, if any."""
    for work in works:
        agent, outcome = work.state.agent, work.outcome
        outcome.unheard = work.settings.confirm and agent is None and bool(keys.settings_of(work.settings.desired))
        if not work.settings.confirm and not work.unread:
            if (outcome.changes or work.by_qubesd) and outcome.ok:
                outcome.add_note(NOT_AWAITED)
        elif agent is not None or unacknowledged(work) or not keys.settings_of(outcome.changes):
            outcome.awaited, outcome.agent = True, agent
        outcome.unchanged = tuple(
            f"{setting}: {reply.note}"
            for setting in sorted(keys.settings_of(work.settings.desired))
            if (reply := work.state.acknowledgements.get(setting)) is not None
            and reply.accepted
            and reply.note.startswith(UNCHANGED)
            and reply.digest == digest(work.state.inputs(setting))
        )


def unsettled(work: Work) -> bool:
    """Whether an acknowledgement of the VM's agent is to be waited for.

    Without confirmation, that is so only where there is none to the push before: then nobody may read there at all.
    """
    if not work.settings.confirm and not work.unread:
        return False
    if work.state.agent is None:
        # One that is there announces itself; nothing comes of it where it has nothing to apply.
        return work.introduced and work.outcome.ok and bool(keys.settings_of(work.settings.desired))
    return bool(check(work)) and work.outcome.ok


def _settled_by_now(work: Work, deadline: Deadline, grace: Deadline) -> bool:
    waiting = check(work)
    if work.state.agent is None:
        return grace.passed or not work.outcome.ok or not unacknowledged(work)
    if waiting and work.outcome.ok and deadline.passed and work.unread:
        work.fail(
            DeadlineExceeded(
                f"{work.target.vm}: the agent acknowledged neither this push nor the one before within"
                f" {deadline.seconds:g} s (its agent or its QubesDB may be dead)"
            )
        )
    elif waiting and work.outcome.ok and deadline.passed:
        names = ", ".join(sorted(waiting))
        error = f"{work.target.vm}: the agent did not acknowledge {names} within {deadline.seconds:g} s"
        if work.state.afresh and all(_is_of_other_keys(work, setting) for setting in waiting):
            error = (
                f"{work.target.vm}: the VM still has keys of {names} that dom0 has lost, as the VM's QubesDB daemon in"
                " dom0 was started afresh (expected: the VM is started again)"
            )
        work.fail(DeadlineExceeded(error))
    return not waiting or not work.outcome.ok


def _is_of_other_keys(work: Work, setting: str) -> bool:
    """Whether the agent has acknowledged *setting* as it sees it, which is not what dom0's store holds."""
    reply = work.state.acknowledgements.get(setting)
    return reply is not None and reply.owner == ACCEPT and reply.digest != digest(work.state.inputs(setting))


def _read(works: Iterable[Work]) -> None:
    """Read what the agents of *works* say now, in one batch."""
    desired = [
        (work, name)
        for work in works
        for name in (keys.AGENT, *(keys.acknowledgement(s) for s in keys.settings_of(work.settings.desired)))
    ]
    if not desired:
        return
    values = desired[0][0].target.store.batch([Read(work.target.path(name)) for work, name in desired])
    for (work, name), value in zip(desired, values, strict=True):
        if isinstance(value, VMInterfaceError) and not isinstance(value, KeyNotFound):
            work.fail(value)
        else:
            observed.note_acknowledgement(work.state, name, None if isinstance(value, KeyNotFound) else value)
