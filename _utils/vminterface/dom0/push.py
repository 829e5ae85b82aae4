"""Push settings into many VMs at once: compare, write, read back, wait for the agents, restore where one fails.

Everything that waits, waits for all VMs together: a VM that hangs costs its own deadline, not the others' time.
Within one VM a push is all or nothing: what cannot be verified, or what its agent refuses, takes the whole push
of that VM back and the first error is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vminterface import keys
from vminterface.channel.store import KeyStore, Read, Remove, Write
from vminterface.dom0 import answers, state
from vminterface.dom0.diff import compare
from vminterface.dom0.outcome import Outcome, Work
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.state import VMState
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    KeyNotFound,
    VerificationFailed,
    VMInterfaceError,
    VMNotRunning,
)
from vminterface.values.service import ServiceName


def diff(settings: Iterable[VMSettings], targets: Targets) -> list[Outcome]:
    """Return for each VM what a push would change. Writes nothing."""
    outcomes, works = _plan(list(settings), targets)
    for work in works:
        if not work.outcome.changes:
            answers.check(work)
    return outcomes


def push(settings: Iterable[VMSettings], targets: Targets) -> list[Outcome]:
    """Bring every running VM to its settings and return what came of each, in the order of *settings*.

    Never raises for what befalls a single VM: that is in its outcome. Raises ConnectionLost or DeadlineExceeded
    when the store cannot be reached at all.
    """
    outcomes, works = _plan(list(settings), targets)
    for group in _groups(works):
        _push_group(group)
    for outcome in outcomes:
        # What was taken back has not changed.
        if outcome.error is not None:
            outcome.changes = {}
    return outcomes


def _plan(settings: Sequence[VMSettings], targets: Targets) -> tuple[list[Outcome], list[Work]]:
    found = targets.find(s.vm for s in settings)
    wanted = {s.vm: s for s in settings}
    states: dict[str, VMState] = {}
    for group in state.by_store(found.values()):
        states.update(state.read(group, {t.vm: wanted[t.vm].desired for t in group}))
    outcomes, works = [], []
    for one in settings:
        outcome = Outcome(one.vm, running=one.vm in found)
        outcomes.append(outcome)
        if one.vm not in found:
            if one.require_running:
                outcome.error = VMNotRunning(f"{one.vm} is not running, and its settings ask for it (require_running)")
            continue
        outcome.changes = compare(one.desired, states[one.vm].texts)
        work = Work(one, found[one.vm], states[one.vm], outcome)
        try:
            _check_names(work)
        except InvalidValue as error:
            work.fail(error)
            outcome.changes = {}
        else:
            works.append(work)
    return outcomes, works


def _check_names(work: Work) -> None:
    if work.target.store.channel == "xenstore":
        for name in work.outcome.changes:
            group, _, member = name.partition(":")
            if group == "services" and not ServiceName.parse(member).fits_xenstore:
                raise InvalidValue(f"{work.target.vm}: XenStore cannot hold a service called '{member}' (no dots)")


def _groups(works: Sequence[Work]) -> list[list[Work]]:
    groups: dict[int, list[Work]] = {}
    for work in works:
        groups.setdefault(id(work.target.store), []).append(work)
    return list(groups.values())


def _push_group(works: Sequence[Work]) -> None:
    """All VMs of one store."""
    changing = [w for w in works if w.outcome.changes]
    for work in changing:
        try:
            _write(work)
        except VMInterfaceError as error:
            work.fail(error)
    _read_back([w for w in changing if w.outcome.ok])
    answers.wait([w for w in works if w.outcome.ok])
    for work in changing:
        if not work.outcome.ok:
            _restore(work)


def _write(work: Work) -> None:
    """Write the differences of one VM, in one transaction where the store has them."""
    changes = {f: change.new for f, change in work.outcome.changes.items()}

    def write(store: KeyStore) -> None:
        if not work.state.can_answer and work.target.store.channel == "xenstore":
            store.write(work.target.path(keys.ANSWERS), b"")
            store.set_permissions(work.target.path(keys.ANSWERS), [f"n{work.target.domid}"])
        _put(store, work.target, changes)

    work.target.store.transaction(write)
    work.introduced = not work.state.can_answer
    work.state.can_answer = True


def _put(store: KeyStore, target: Target, texts: Mapping[str, str | None]) -> None:
    operations: list[Write | Remove] = []
    for name, text in texts.items():
        path = target.path(keys.for_field(name).name)
        operations.append(Remove(path) if text is None else Write(path, text.encode("utf-8", "surrogateescape")))
    for operation, outcome in zip(operations, store.batch(operations), strict=True):
        if isinstance(outcome, KeyNotFound) and isinstance(operation, Remove):
            continue
        if isinstance(outcome, VMInterfaceError):
            raise outcome


def _read_back(works: Sequence[Work]) -> None:
    """Compare what the store holds now with what was written, for all VMs in one batch."""
    if not works:
        return
    wanted = [(work, name, change.new) for work in works for name, change in work.outcome.changes.items()]
    try:
        values = works[0].target.store.batch([Read(w.target.path(keys.for_field(n).name)) for w, n, _ in wanted])
    except VMInterfaceError as error:
        for work in works:
            work.fail(error)
        return
    for (work, name, text), value in zip(wanted, values, strict=True):
        if isinstance(value, VMInterfaceError) and not isinstance(value, KeyNotFound):
            work.fail(value)
            continue
        now = None if isinstance(value, KeyNotFound) else state.decode(value)
        if now != text:
            work.fail(
                VerificationFailed(f"{work.target.vm}: {name} does not hold what was written; former values restored")
            )
        elif now is None:
            work.state.texts.pop(name, None)
        else:
            work.state.texts[name] = now


def _restore(work: Work) -> None:
    """Put the former values back; a fault in doing so is added to the first error's sentence."""
    former = {name: change.old for name, change in work.outcome.changes.items()}
    try:
        work.target.store.transaction(lambda store: _put(store, work.target, former))
    except (ConnectionLost, DeadlineExceeded) as error:
        first = work.outcome.error
        if first is not None and str(first) != str(error):
            work.outcome.error = type(first)(f"{first}; and the former values could not be restored: {error}")
    except VMInterfaceError as error:
        work.outcome.error = VerificationFailed(f"{work.outcome.error}; and not restored: {error}")
