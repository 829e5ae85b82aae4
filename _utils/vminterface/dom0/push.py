"""Push settings into many VMs at once: compare, write, read back, wait for the agents, restore where one fails.

Everything that waits, waits for all VMs together: a VM that hangs costs its own deadline, not the others' time.
Within one VM a push is all or nothing: what cannot be verified, or what its agent refuses, takes the whole push
of that VM back and the first error is reported. The XenStore has transactions for that; in a QubesDB the keys are
written one by one, those that tell the VM to look at others last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from vminterface import keys
from vminterface.channel.store import KeyStore, Read, Remove, Write
from vminterface.dom0 import answers, groups, persist, state
from vminterface.dom0.diff import Change, compare
from vminterface.dom0.firewall import Firewalls
from vminterface.dom0.introduce import introduce
from vminterface.dom0.outcome import Outcome, Work
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    RemoteProtocolError,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.service import ServiceName
from vminterface.values.vmconfig import ConfigName

#: Fields by whose key a VM sees that the rest of their group is there.
_FLAGS = frozenset({"network:ip", "provides_network:network"})


def diff(settings: Iterable[VMSettings], targets: Targets) -> list[Outcome]:
    """Return for each VM what a push would change. Writes nothing."""
    return persist.diff(list(settings), lambda some: _diff(some, targets))


def _diff(settings: Sequence[VMSettings], targets: Targets) -> list[Outcome]:
    def check(part: _Part) -> None:
        try:
            for work in part.works:
                if not work.outcome.changes:
                    answers.check(work)
            part.firewalls.note()
        finally:
            part.firewalls.close()

    return _outcomes(settings, targets, check, lambda left: None)


def push(settings: Iterable[VMSettings], targets: Targets) -> list[Outcome]:
    """Bring every running VM to its settings and return what came of each, in the order of *settings*.

    Never raises for what befalls a single VM: that is in its outcome. Raises ConnectionLost or DeadlineExceeded
    when the XenStore cannot be reached at all.
    """
    return persist.push(list(settings), lambda some: _diff(some, targets), lambda some: _push(some, targets))


def _push(settings: Sequence[VMSettings], targets: Targets) -> list[Outcome]:
    def speak(part: _Part) -> _Part | None:
        if _write_all(part.works) or part.firewalls.clients:
            return part
        part.firewalls.close()
        return None

    def wait(part: _Part) -> None:
        try:
            _listen(part.works, targets)
            # Last, as they are in other VMs' stores; without rules a provider lets nothing of a client through.
            changed = [work for work in part.works if work.outcome.ok and work.outcome.changes]
            part.firewalls.push()
            for work in changed:
                if not work.outcome.ok:
                    _restore(work, targets)
        finally:
            part.firewalls.close()

    outcomes = _outcomes(settings, targets, speak, wait)
    for outcome in outcomes:
        # What was taken back has not changed.
        if outcome.error is not None:
            outcome.changes = {}
    return outcomes


@dataclass(frozen=True, slots=True)
class _Part:
    """The VMs of one store, or those that are not running, and their firewalls."""

    works: Sequence[Work]
    firewalls: Firewalls


def _outcomes(
    settings: Sequence[VMSettings],
    targets: Targets,
    speak: Callable[[_Part], _Part | None],
    wait: Callable[[_Part], None],
) -> list[Outcome]:
    """Let *speak* and then *wait* have each part of the VMs, all at once, as :func:`groups.run` does it."""
    wanted = {one.vm: one for one in settings}
    found = targets.find(wanted, wanted)
    outcomes = {vm: Outcome(vm, running=vm in found, kept=bool(one.persist)) for vm, one in wanted.items()}
    for vm, one in wanted.items():
        if vm not in found and one.require_running:
            outcomes[vm].error = VMNotRunning(f"{vm} is not running, and its settings ask for it (require_running)")
    parts = [[target.vm for target in group] for group in state.by_store(found.values())]
    absent = [vm for vm, one in wanted.items() if vm not in found and one.firewall is not None]
    lost: dict[str, VMInterfaceError] = {}

    def begin(vms: Sequence[str]) -> _Part | None:
        firewalls = Firewalls(vms, wanted, outcomes, targets, lost)
        try:
            group = [found[vm] for vm in vms if vm in found and outcomes[vm].ok]
            part = _Part(_plan(group, wanted, outcomes), firewalls)
            return speak(part)
        except BaseException:
            firewalls.close()
            raise

    groups.run([*parts, absent] if absent else parts, begin, wait)
    return list(outcomes.values())


def _plan(group: Sequence[Target], wanted: Mapping[str, VMSettings], outcomes: Mapping[str, Outcome]) -> list[Work]:
    """Compare the VMs of one store with their settings."""
    if not group:
        return []
    try:
        states = state.read(group, {t.vm: wanted[t.vm].desired for t in group})
    except VMInterfaceError as error:
        if group[0].store.channel == "xenstore":
            raise
        for target in group:
            outcomes[target.vm].error = error
        return []
    works = []
    for target in group:
        one, outcome = wanted[target.vm], outcomes[target.vm]
        outcome.changes = compare(one.desired, states[target.vm].texts, channel=target.store.channel)
        work = Work(one, target, states[target.vm], outcome)
        try:
            _check_names(work)
        except InvalidValue as error:
            work.fail(error)
            outcome.changes = {}
        else:
            works.append(work)
    return works


def _check_names(work: Work) -> None:
    if work.target.store.channel == "xenstore":
        for name in work.outcome.changes:
            group, _, member = name.partition(":")
            if group == "services" and not ServiceName.parse(member).fits_xenstore:
                raise InvalidValue(f"{work.target.vm}: XenStore cannot hold a service called '{member}' (no dots)")
            if group == "vm_config" and not ConfigName.parse(member).fits_xenstore:
                raise InvalidValue(f"{work.target.vm}: XenStore cannot hold a key called '{member}' (no dots)")


def _write_all(works: Sequence[Work]) -> bool:
    """Write what differs in the VMs of one store and read it back; return whether that is not the end of it."""
    changing = [w for w in works if w.outcome.changes]
    for work in changing:
        try:
            _write(work)
        except VMInterfaceError as error:
            work.fail(_told(work, error))
    _read_back([w for w in changing if w.outcome.ok])
    return any(answers.unsettled(work) or not work.outcome.ok for work in works)


def _listen(works: Sequence[Work], targets: Targets) -> None:
    """Wait for the agents of the VMs of one store, and put former values back where something failed."""
    answers.wait([w for w in works if w.outcome.ok])
    for work in works:
        # One that has stopped looks like one without an agent.
        if work.outcome.changes and work.outcome.ok and work.state.agent is None:
            try:
                _check_there(work.target.store, work.target)
            except VMInterfaceError as error:
                work.fail(error)
        if work.outcome.changes and not work.outcome.ok:
            _restore(work, targets)


def _write(work: Work) -> None:
    """Write the differences of one VM, in one transaction where the store has them."""
    changes = {f: change.new for f, change in work.outcome.changes.items()}

    def write(store: KeyStore) -> None:
        if not work.state.can_answer and work.target.domid is not None:
            introduce(store, work.target.domid, work.target.base)
        _put(store, work.target, changes)

    work.target.store.transaction(write)
    work.introduced = not work.state.can_answer
    work.state.can_answer = True


def _check_there(store: KeyStore, target: Target) -> None:
    """Raise VMNotRunning if the VM has stopped: nobody would remove what is written for it in the XenStore then."""
    if store.channel == "xenstore" and not store.exists(target.path("name")):
        raise VMNotRunning(f"{target.vm} has stopped while it was given its settings")


def _told(work: Work, error: VMInterfaceError) -> VMInterfaceError:
    """Return *error* with the VM's name, or that the VM has stopped: a store may refuse it anything then."""
    if isinstance(error, ConnectionLost | DeadlineExceeded | RemoteProtocolError):
        return error
    try:
        _check_there(work.target.store, work.target)
    except VMInterfaceError as other:
        return other
    return error if work.target.vm in str(error) else type(error)(f"{work.target.vm}: {error}")


def _put(store: KeyStore, target: Target, texts: Mapping[str, str | None]) -> None:
    _check_there(store, target)
    operations: list[Write | Remove] = []
    for name, text in sorted(texts.items(), key=_turn):
        for path in map(target.path, _names(name, text)):
            operations.append(Remove(path) if text is None else Write(path, text.encode("utf-8", "surrogateescape")))
    for operation, outcome in zip(operations, store.batch(operations), strict=True):
        if isinstance(outcome, KeyNotFound) and isinstance(operation, Remove):
            continue
        if isinstance(outcome, VMInterfaceError):
            raise outcome


def _names(field: str, text: str | None) -> tuple[str, ...]:
    """Return the keys that *text* goes to; where there is to be none, the names too under which it would be read."""
    row = keys.for_field(field)
    return (row.name, *row.drift) if text is None else (row.name,)


def _turn(change: tuple[str, str | None]) -> tuple[bool, bool]:
    """Return what sorts changes: a flag is gone before the keys that it speaks of, and there after them."""
    field, text = change
    return (field in _FLAGS and text is not None, field not in _FLAGS)


def _read_back(works: Sequence[Work]) -> None:
    """Compare what the store holds now with what was written, for all VMs in one batch."""
    if not works:
        return
    wanted = [
        (work, name, change.new, key)
        for work in works
        for name, change in work.outcome.changes.items()
        for key in _names(name, change.new)
    ]
    try:
        values = works[0].target.store.batch([Read(work.target.path(key)) for work, _, _, key in wanted])
    except VMInterfaceError as error:
        for work in works:
            work.fail(error)
        return
    for (work, name, text, _), value in zip(wanted, values, strict=True):
        if isinstance(value, VMInterfaceError) and not isinstance(value, KeyNotFound):
            work.fail(value)
            continue
        now = None if isinstance(value, KeyNotFound) else state.decode(value)
        if now != text:
            work.fail(VerificationFailed(f"{work.target.vm}: {name} does not hold what was written"))
        elif now is None:
            work.state.texts.pop(name, None)
        else:
            work.state.texts[name] = now


def _restore(work: Work, targets: Targets) -> None:
    """Put the former values back; a fault in doing so is added to the first error's sentence."""
    outcome, first = work.outcome, work.outcome.error
    assert first is not None
    try:
        # One that hung up may serve a new connection; one that did not answer has had its time.
        hung_up = isinstance(first, ConnectionLost | RemoteProtocolError)
        target = targets.again(work.target) if hung_up else work.target
        put, others = target.store.transaction(lambda store: _put_back(store, target, outcome.changes))
    except VMNotRunning as error:
        outcome.error, outcome.restored = error, None
    except VMInterfaceError as error:
        outcome.restored = False
        if str(error) not in str(first):
            kind = type(first) if isinstance(error, ConnectionLost | DeadlineExceeded) else VerificationFailed
            outcome.error = kind(f"{first}; and the former values could not be restored: {error}")
    else:
        if put and outcome.restored is None:
            outcome.restored = True
        if others:
            outcome.error = type(first)(f"{first}; {', '.join(others)} was set by another program meanwhile, and stays")


def _put_back(store: KeyStore, target: Target, changes: Mapping[str, Change]) -> tuple[list[str], list[str]]:
    """Put the former values of *changes* back. Return of which fields, and which somebody else has set meanwhile."""
    values = store.read_many([target.path(keys.for_field(name).name) for name in changes])
    now = {name: None if value is None else state.decode(value) for name, value in zip(changes, values, strict=True)}
    ours = {name: change.old for name, change in changes.items() if now[name] == change.new}
    _put(store, target, ours)
    return list(ours), [name for name, change in changes.items() if now[name] not in (change.new, change.old)]
