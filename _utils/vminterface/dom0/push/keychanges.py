"""A VM's changes of fields as operations on its keys: write, verify, restore.

The order never leaves a VM with half a network, and marks show an agent whether it has all of a push. What is written
is read back in the same batch, and so in the same transaction where the store has them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vminterface import keys, runtime
from vminterface.channel.store import KeyStore, Operation, Read, Remove, Write
from vminterface.dom0.desired import words
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.dom0.push import acknowledgements as replies
from vminterface.dom0.push import unaccepted
from vminterface.dom0.push.grants import grant
from vminterface.dom0.push.outcome import Work
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    KeyNotFound,
    RemoteProtocolError,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.acknowledgement import PENDING
from vminterface.values.change import Change
from vminterface.values.pushmark import PushMark

#: What a store that is lost raises.
LOST = (ConnectionLost, DeadlineExceeded, RemoteProtocolError)

Texts = Mapping[str, str | None]


def write(work: Work, asked: Collection[str]) -> None:
    """Write what differs, take the acknowledgements of the settings *asked* away, and read it back, all or nothing.

    What the VM sees otherwise is written too: dom0's store may have lost keys that the VM still has, and of what is
    contradicted nobody knows which key it is.
    """
    texts = {field: change.new for field, change in work.texts.items()}
    contradicted = replies.contradicted(work)
    again = {name: text for setting in contradicted for name, text in work.state.inputs(setting).items()}
    unseen = {
        name: None
        for name, value in work.settings.desired.items()
        if value is None and (work.state.afresh or keys.for_field(name).setting in contradicted)
    }

    def give(store: KeyStore) -> None:
        if not work.state.can_acknowledge and work.target.domid is not None:
            grant(store, work.target.domid, work.target.base)
        work.begun = not store.transactions
        afresh = work.state.afresh or bool(contradicted)
        put(store, work.target, {**again, **texts, **unseen}, work.state.texts, asked, afresh=afresh)
        work.begun = True

    work.target.store.transaction(give)
    work.written = True
    work.introduced = not work.state.can_acknowledge or work.state.afresh
    work.state.can_acknowledge = True
    for setting in asked:
        work.state.acknowledgements.pop(setting, None)
    for field, text in texts.items():
        if text is None:
            work.state.texts.pop(field, None)
        else:
            work.state.texts[field] = text


def of_vm(work: Work, error: VMInterfaceError) -> VMInterfaceError:
    """Return *error* with the VM's name, or that the VM has stopped: a store may refuse it anything then."""
    if isinstance(error, LOST):
        return error
    try:
        check_there(work.target.store, work.target)
    except VMInterfaceError as other:
        return other
    return error if work.target.vm in str(error) else type(error)(f"{work.target.vm}: {error}")


def name_lost(work: Work) -> None:
    """See to it that the error of a lost store names the VM, and how the VM is left."""
    error, vm = work.outcome.error, work.target.vm
    if not isinstance(error, LOST) or str(error).startswith(f"{vm}: "):
        return
    left = "" if work.begun or not work.outcome.changes else "nothing was written: "
    if work.begun and work.outcome.restored is False:
        left = "may have a part of its new values: "
        if work.written:
            left = "still has its new values, which could not be restored: "
        elif work.target.store.transactions:
            left = "has either all of its new values or none: "
    work.outcome.error = type(error)(f"{vm}: {left}{error}")


def restore(work: Work, targets: Targets) -> None:
    """Put the former values back; a fault in doing so is added to the first error's sentence."""
    outcome, first = work.outcome, work.outcome.error
    assert first is not None
    try:
        # One that hung up may serve a new connection; one that did not answer has had its time.
        hung_up = isinstance(first, ConnectionLost | RemoteProtocolError)
        target = targets.again(work.target) if hung_up else work.target
        changes = {field: work.texts[field] for field in outcome.changes}
        put, others = target.store.transaction(lambda store: _put_back(store, target, work, changes, again=hung_up))
    except VMNotRunning as error:
        outcome.error, outcome.restored = error, None
    except VMInterfaceError as error:
        outcome.restored = False
        why = "" if str(error) in str(first) else f": {error}"
        # How a lost store leaves the VM is said where its error gets the VM's name.
        if why or not isinstance(first, LOST):
            kind = type(first) if isinstance(error, ConnectionLost | DeadlineExceeded) else VerificationFailed
            outcome.error = kind(f"{first}; the former values could not be restored{why}")
    else:
        unknown = [name for name in put if work.state.afresh and name in changes and changes[name].old is None]
        if unknown:
            outcome.restored = False
            names = ", ".join(words.names(unknown))
            outcome.error = type(first)(f"{first}; {names} is removed, as dom0 has lost the former value")
        elif put and outcome.restored is None:
            outcome.restored = True
        if others:
            outcome.error = type(first)(
                f"{outcome.error}; {', '.join(others)} was set by another program meanwhile and is kept"
            )


def withdraw(work: Work) -> None:
    """Put back what this push wrote of settings that the VM's owner turned out not to accept, and of these alone."""
    late = unaccepted.find(work.settings, work.state, work.outcome.changes)
    if not late:
        return
    work.outcome.unaccepted.update(late)
    taken = {field: work.texts[field] for field in unaccepted.part(work.outcome.changes, late)}
    if taken:
        try:
            _, others = work.target.store.transaction(lambda store: _put_back(store, work.target, work, taken))
        except VMInterfaceError as error:
            work.fail(of_vm(work, error))
            return
        if others:
            work.outcome.add_note(f"{', '.join(others)} was set by another program meanwhile and is kept")
    work.outcome.changes = unaccepted.without(work.outcome.changes, late)
    work.settings = unaccepted.leave_out(work.settings, late)


def take_back(work: Work, written: Mapping[str, Change[str]]) -> list[str]:
    """Put the texts before *written* back in one transaction; return the fields that somebody else has set meanwhile.

    Raises VMNotRunning, VerificationFailed and the store's errors.
    """
    return work.target.store.transaction(lambda store: _put_back(store, work.target, work, written))[1]


def _put_back(
    store: KeyStore, target: Target, work: Work, written: Mapping[str, Change[str]], *, again: bool = False
) -> tuple[list[str], list[str]]:
    """Put the texts before *written* back. Return of which fields, and which somebody else has set meanwhile.

    *again*: over a new connection, which may be to the store of the VM's next start; then VMNotRunning is raised.
    """
    changes = dict(written)
    flags = gone_meanwhile(store, changes)
    # One that does not change may have been left out when the writing broke off.
    changes.update(
        {flag: Change(text, text) for flag in flags - changes.keys() if (text := work.state.texts.get(flag))}
    )
    values = store.read_many([target.path(keys.for_field(name).name) for name in changes])
    now = {name: observed.decode(value) for name, value in zip(changes, values, strict=True) if value is not None}
    ours: dict[str, str | None] = {}
    others: list[str] = []
    absent: list[str] = []
    # A daemon of dom0 that was started afresh since then has lost all of it, and the VM still has what was written.
    lost = store.per_vm and not work.state.afresh and not store.exists(target.path("name"))
    if again and store.per_vm and not lost and _has_none_of(changes, now, flags):
        raise _stopped(target)
    for name, change in changes.items():
        if lost or now.get(name) == change.new:
            ours[name] = change.old
        elif now.get(name) != change.old:
            (absent if name in flags and name not in now else others).append(name)
    # A flag that is absent was left out when the writing broke off; or all of its group is gone with a former start.
    removed = {name.partition(":")[0] for name in others if name not in now}
    for flag in absent:
        if flag.partition(":")[0] in removed:
            others.append(flag)
        else:
            ours[flag] = changes[flag].old
    if lost:
        # With a part of a setting alone, dom0 would take that for all that the VM has of it.
        for setting in keys.settings_of(changes):
            ours |= {name: text for name, text in work.state.inputs(setting).items() if name not in changes}
    put(store, target, ours, now, replies.given(work, keys.settings_of(changes)), afresh=lost)
    return list(ours), words.names(others)


def _has_none_of(changes: Mapping[str, Change[str]], now: Mapping[str, str], flags: Collection[str]) -> bool:
    """Whether a store has neither the new text nor the former one of what had both: it is that of another start."""
    both = [name for name, one in changes.items() if one.old is not None and one.new is not None and name not in flags]
    return bool(both) and not any(name in now for name, one in changes.items() if one.new is not None)


def put(
    store: KeyStore,
    target: Target,
    texts: Texts,
    held: Mapping[str, str],
    unacknowledged: Collection[str],
    *,
    afresh: bool,
) -> None:
    """Give the VM's fields these *texts*, None for no key, and read them back; *held* is what its fields have now.

    The acknowledgements of the settings *unacknowledged* are taken away first, so that those which come are to this;
    and the agent that is to give them is shown by marks when all is written.
    Where the store is *afresh*, the VM may still see keys that it has lost.
    Raises VMNotRunning where the VM has stopped, VerificationFailed, and the store's errors.
    """
    # What a transaction has written for a VM that is not there is undone: the check needs no exchange of its own.
    there = [] if store.per_vm else [Read(_there(target))]
    begin, end = _marks(store, target) if unacknowledged else ([], [])
    writes = [
        *begin,
        *(Write(target.path(keys.acknowledgement(setting)), PENDING.encode()) for setting in sorted(unacknowledged)),
        *_operations(store, target, texts, held, afresh=afresh),
        *end,
    ]
    read = [(field, text, target.path(name)) for field, text in texts.items() for name in _names(field, text)]
    outcomes = store.batch([*there, *writes, *(Read(path) for _, _, path in read)])
    if there and isinstance(outcome := outcomes.pop(0), VMInterfaceError):
        raise _stopped(target) if isinstance(outcome, KeyNotFound) else outcome
    for operation, outcome in zip(writes, outcomes, strict=False):
        if isinstance(outcome, VMInterfaceError) and not (
            isinstance(operation, Remove) and isinstance(outcome, KeyNotFound)
        ):
            raise outcome
    for (field, text, _), value in zip(read, outcomes[len(writes) :], strict=True):
        if isinstance(value, VMInterfaceError) and not isinstance(value, KeyNotFound):
            raise value
        if text != (None if isinstance(value, KeyNotFound) else observed.decode(value)):
            raise VerificationFailed(f"{target.vm}: {field} does not hold the written value")


def gone_meanwhile(store: KeyStore, fields: Collection[str]) -> set[str]:
    """Return the fields whose keys are absent while *fields* change: flags, without transactions."""
    groups = set() if store.transactions else {field.partition(":")[0] for field in fields}
    return {flag for group, flag in keys.FLAGS.items() if group in groups}


def check_there(store: KeyStore, target: Target) -> None:
    """Raise VMNotRunning if the VM has stopped: nobody would remove what is written for it in the XenStore then."""
    if not store.per_vm and not store.exists(_there(target)):
        raise _stopped(target)


def _there(target: Target) -> str:
    """Return the path of the key that a running VM has."""
    return target.path("name")


def _stopped(target: Target) -> VMNotRunning:
    return VMNotRunning(f"{target.vm} stopped while its settings were written")


def _marks(store: KeyStore, target: Target) -> tuple[list[Operation], list[Operation]]:
    """Return what marks the beginning and the end of a push: the end alone where all of it appears at once."""
    # Pushes to a VM follow one another, under its lock, and each takes longer than a microsecond.
    number = int(runtime.monotonic() * 1e6)
    begin, end = (Write(target.path(keys.PUSH), PushMark(number, done).render().encode()) for done in (False, True))
    return ([] if store.transactions else [begin]), [end]


def _operations(
    store: KeyStore, target: Target, texts: Texts, held: Mapping[str, str], *, afresh: bool
) -> list[Operation]:
    """Return what brings *texts* about. Without transactions a group's flag is gone while the group changes."""
    texts = dict(texts)
    operations: list[Operation] = []
    flags = gone_meanwhile(store, texts)
    for flag in sorted(flags):
        path = target.path(keys.for_field(flag).name)
        if flag in held:
            texts.setdefault(flag, held[flag])
        elif afresh:
            # The VM still has it, and sees its removal only if it is there; no agent applies an empty one.
            operations.append(Write(path, b""))
        else:
            continue
        operations.append(Remove(path))
    for field, text in sorted(texts.items(), key=_turn):
        if afresh and text is None and field not in flags and field not in held:
            operations.append(Write(target.path(keys.for_field(field).name), b""))
        for path in map(target.path, _names(field, text)):
            operations.append(Remove(path) if text is None else Write(path, text.encode("utf-8", "surrogateescape")))
    return operations


def _names(field: str, text: str | None) -> tuple[str, ...]:
    """Return the keys that *text* goes to; where there is to be none, the names too under which it would be read."""
    row = keys.for_field(field)
    return (row.name, *row.drift) if text is None else (row.name,)


def _turn(change: tuple[str, str | None]) -> bool:
    """Return what sorts changes: a flag is there after the keys that it speaks of."""
    field, text = change
    return field in keys.FLAGS.values() and text is not None
