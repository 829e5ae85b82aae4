"""Push settings into many VMs at once: lock, observe, compare, persist, write, verify, confirm, and restore.

Within one VM a push is all or nothing. The XenStore has transactions for that; in a QubesDB the keys are written one by
one, those that notify the VM of others last.

All stores, the one XenStore of a host and the QubesDB of each VM, are spoken to at once, and everything that waits,
waits for all VMs together: a VM that hangs costs its own deadline, not the others' time. A VM of which all is done is
let go at once, so that other programs do not wait for it. Where this process has not the descriptors for all, VMs have
their turns one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from vminterface import keys, runtime
from vminterface.deadline import Deadline
from vminterface.dom0.desired import words
from vminterface.dom0.desired.diff import compare
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import groups, observed
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.dom0.push import acknowledgements as replies
from vminterface.dom0.push import interrupt, keychanges, lastpush, unaccepted
from vminterface.dom0.push.firewall.clients import Firewalls
from vminterface.dom0.push.locks import PAUSES, VMLocks
from vminterface.dom0.push.monitors import Monitors
from vminterface.dom0.push.outcome import Outcome, Work
from vminterface.dom0.push.persist.plan import Plan
from vminterface.errors import Interrupted, InvalidValue, VMInterfaceError, VMNotRunning, VMStarting
from vminterface.values.change import Change
from vminterface.values.service import hashed_app

#: Pushes of VMs whose locks came free, at the same time.
AT_ONCE = 16


@dataclass(slots=True)
class Part:
    """VMs that have their steps together: those of one store, one that starts, or those that are in no store."""

    outcomes: Mapping[str, Outcome]
    #: Providers of network that are lost, shared by the parts.
    lost: dict[str, VMInterfaceError]
    targets: list[Target] = field(default_factory=list)
    #: Whether its VM has no QubesDB yet.
    starting: bool = False
    #: Those of which the store was read.
    works: list[Work] = field(default_factory=list)
    firewalls: Firewalls | None = None
    #: Whether VMs are being given their monitors.
    called: bool = False

    @property
    def well(self) -> list[Work]:
        """Those of which nothing has failed yet."""
        return [work for work in self.works if work.outcome.ok]

    @property
    def settled(self) -> bool:
        """Whether there is nothing to wait for, and nothing to restore."""
        waits = self.called or (self.firewalls is not None and self.firewalls.clients)
        return not waits and all(work.outcome.ok and not replies.unsettled(work) for work in self.works)

    def awaits_firewall(self, vm: str) -> bool:
        """Whether the firewall of *vm* is still to be pushed."""
        return self.firewalls is not None and any(client.settings.vm == vm for client in self.firewalls.clients)

    def close(self) -> None:
        """Hang up the connections to providers."""
        if self.firewalls is not None:
            self.firewalls.close()


class Push:
    """The push of *settings*: its methods are its steps, in their order.

    Persistent settings go to qubesd first, as it writes keys of running VMs too; so what the push changes is known
    before that alone. What is in stores is read, written and waited for by part, see :class:`Part`. Each step passes
    over the VMs that have failed, but for :meth:`restore`, which is about them. Monitors, which no key holds, and
    firewalls, which are in other VMs' stores, have steps of the same names within these. Once *stop* is set nothing
    more is written but what was there before. *let_go* is called with each VM of which all is done, perhaps by another
    thread.
    """

    def __init__(
        self,
        settings: Sequence[VMSettings],
        targets: Targets,
        stop: threading.Event,
        let_go: Callable[[str], None] = lambda vm: None,
    ) -> None:
        self._targets, self._stop, self._let_go = targets, stop, let_go
        qubesd = targets.qubesd()
        self._plans = {one.vm: Plan.of(one, qubesd) for one in settings}
        self._routed = {vm: plan.routed for vm, plan in self._plans.items()}
        self._monitors = Monitors([plan.live for plan in self._plans.values() if plan.error is None], stop)
        self._outcomes: dict[str, Outcome] = {}
        #: What the VMs of a pass over the stores are to have, with the time that is left to them.
        self._desired: dict[str, VMSettings] = {}

    def inspect(self) -> list[Outcome]:
        """Return what would change: observe and compare alone."""
        with self._monitors:
            self._monitors.probe()
            outcomes = self._pass(list(self._plans.values()), self._inspect)
            for outcome in outcomes:
                self._plans[outcome.vm].note(outcome)
            self._monitors.note(outcomes)
        return outcomes

    def run(self) -> list[Outcome]:
        """Do it all, for VMs whose locks are held; return the outcome of each VM, in the order of the settings."""
        with self._monitors:
            self._monitors.probe()
            self.foresee()
            self.persist()
            for outcome in self._outcomes.values():
                self._done(outcome)
            self._pass(self._left(), self._begin, self._end)
        return [self._outcomes[vm] for vm in self._plans]

    def _begin(self, part: Part) -> Part | None:
        """Do what speaks to the store of a part; return it if something is left to wait for."""
        left = False
        try:
            self.observe(part)
            self.compare(part)
            self.write(part)
            left = not part.settled
            if not left:
                replies.note(part.works)
                self.conclude(list(part.outcomes.values()))
        finally:
            if not left:
                part.close()
        return part if left else None

    def _end(self, part: Part) -> None:
        """Do what waits for the VMs of a part.

        Firewalls come last, as they are in other VMs' stores; without rules a provider lets nothing of a client pass.
        """
        try:
            replies.wait(part.works, self._stop, partial(self.confirm, part))
            outcomes = {vm: outcome for vm, outcome in part.outcomes.items() if vm not in self._outcomes}
            works = [work for work in part.works if work.target.vm in outcomes]
            self._monitors.finish(outcomes.values())
            replies.note(works)
            self.restore(works)
            if part.firewalls is not None:
                part.firewalls.push()
            self.restore(works)
            self.conclude(list(outcomes.values()))
        finally:
            part.close()

    def _inspect(self, part: Part) -> None:
        """Observe and compare alone, and say what agents have refused of what does not differ."""
        self._preview(part, refusals=True)

    def _preview(self, part: Part, *, refusals: bool = False) -> None:
        """Observe and compare alone. A push asks for what was refused anew, so that *refusals* are none of its own."""
        try:
            self.observe(part)
            self.compare(part)
            for work in part.well:
                if refusals and not work.outcome.changes:
                    replies.check(work)
            if part.firewalls is not None:
                part.firewalls.note()
        finally:
            part.close()

    @staticmethod
    def lock(
        settings: Sequence[VMSettings], locks: VMLocks, stop: threading.Event, late: dict[str, Outcome]
    ) -> Iterator[list[VMSettings]]:
        """Take the VMs' locks: yield the *settings* of those that are free, then others as theirs come free.

        These have what is left of their time. A VM that another program holds costs its own time alone, and has its
        error in *late* after that, or once *stop* is set. Raises LockUnavailable.
        """
        free = [one for one in settings if locks.take(one.vm)]
        vms = {one.vm for one in free}
        waiting = {one.vm: (one, Deadline.after(one.wait_before_writing)) for one in settings if one.vm not in vms}
        pause, longest = PAUSES
        yield free
        while waiting:
            free = [
                one.after_wait(deadline.seconds - deadline.remaining)
                for vm, (one, deadline) in waiting.items()
                if not stop.is_set() and locks.take(vm)
            ]
            for one in free:
                del waiting[one.vm]
            if free:
                yield free
            for vm, (_, deadline) in list(waiting.items()):
                if stop.is_set() or deadline.passed:
                    del waiting[vm]
                    locks.give_up(vm)
                    error: VMInterfaceError = locks.held(vm, deadline.seconds)
                    if stop.is_set():
                        error = Interrupted(f"{vm}: interrupted before anything was written")
                    late[vm] = Outcome(vm, error=error)
            if waiting:
                stop.wait(pause)
                pause = min(2 * pause, longest)

    def foresee(self) -> None:
        """Observe and compare those VMs of which qubesd is to keep something else, or whose keys it writes anew."""
        self._outcomes = {vm: Outcome(vm, error=plan.error) for vm, plan in self._plans.items() if plan.error}
        for outcome in self._pass([plan for plan in self._left() if plan.involves_qubesd], self._preview):
            if outcome.ok:
                self._plans[outcome.vm].foresee(outcome)
            else:
                self._outcomes[outcome.vm] = Outcome(outcome.vm, error=outcome.error, running=outcome.running)

    def persist(self) -> None:
        """Let qubesd keep what shall last, all of a VM's or nothing."""
        for plan in sorted(self._left(), key=lambda plan: plan.turn):
            if plan.foreseen is not None and (taken := plan.keep(self._targets, self._stop)) is not None:
                vm, running = plan.live.vm, plan.foreseen.running
                self._outcomes[vm] = Outcome(vm, error=taken.error, running=running, restored=taken.restored)

    def observe(self, part: Part) -> None:
        """Read what the store holds of the VMs. Raises the errors of a XenStore as a whole."""
        if part.starting:
            self._wait_for_store(part)
        targets = [target for target in part.targets if part.outcomes[target.vm].ok]
        if not targets:
            return
        fields = {t.vm: {*self._desired[t.vm].desired, *self._routed[t.vm].pins} for t in targets}
        states = observed.read(targets, fields)
        for target in targets:
            work = Work(self._desired[target.vm], target, states[target.vm], part.outcomes[target.vm])
            if work.state.error is not None:
                work.fail(work.state.error)
            else:
                part.works.append(work)

    def compare(self, part: Part) -> None:
        """Find the fields, the monitors and the firewalls that differ; leave out what the VMs' owners do not accept."""
        for work in part.works:
            routed, outcome = self._routed[work.target.vm], work.outcome
            work.by_qubesd = self._plans[work.target.vm].written
            changes = compare(work.settings.desired, work.state.values, per_vm=work.target.store.per_vm)
            outcome.same = words.beside(changes, work.settings.desired)
            outcome.unaccepted = unaccepted.find(work.settings, work.state, changes)
            work.settings = unaccepted.leave_out(work.settings, outcome.unaccepted)
            changes = unaccepted.without(changes, outcome.unaccepted)
            work.settings, outcome.waiting = routed.put_off(work.settings, work.state.values, changes)
            try:
                routed.check(work.settings, changes)
                _check_names(work.target, changes)
            except InvalidValue as error:
                work.fail(error)
            else:
                work.unread = not work.settings.confirm and replies.is_unread(work)
                outcome.changes = changes
                work.texts = {
                    name: Change(work.state.texts.get(name), keys.text_of(name, change.new))
                    for name, change in changes.items()
                }
        self._monitors.check(part.outcomes.values())
        # A VM whose firewall cannot be has nothing else begun.
        here = {vm: self._desired[vm] for vm in part.outcomes} | {work.target.vm: work.settings for work in part.works}
        part.firewalls = Firewalls(
            list(part.outcomes), here, part.outcomes, self._targets, part.lost, self._routed, self._stop
        )

    def write(self, part: Part) -> None:
        """Write what differs, in one transaction for each VM where the store has them, and read it back in it.

        The former acknowledgements go with it, so that those which come are to this push. Monitors go out meanwhile.
        """
        for work in part.well:
            asked = replies.to_be_given_anew(work)
            if not work.outcome.changes and not asked:
                continue
            try:
                if self._stop.is_set():
                    raise Interrupted(f"{work.target.vm}: interrupted before anything was written")
                keychanges.write(work, asked)
            except VMInterfaceError as error:
                work.fail(keychanges.of_vm(work, error))
        part.called = self._monitors.begin(part.outcomes.values())

    def confirm(self, part: Part, work: Work) -> None:
        """Take back what the VM's owner does not accept once its agent has acknowledged what it has to, or has not.

        All the rest too, unless its monitors or its firewall are still to come.
        """
        if work.outcome.ok:
            keychanges.withdraw(work)
        # One that has stopped cannot be distinguished from one without an agent.
        if work.outcome.ok and work.outcome.changes and work.state.agent is None:
            try:
                keychanges.check_there(work.target.store, work.target)
            except VMInterfaceError as error:
                work.fail(error)
        vm = work.target.vm
        if not self._monitors.is_sent(vm) and not (work.outcome.ok and part.awaits_firewall(vm)):
            replies.note([work])
            self.restore([work])
            self.conclude([work.outcome])

    def restore(self, works: Sequence[Work]) -> None:
        """Put the former values back where something failed after this push had begun to write."""
        for work in works:
            # Where it had not, the VM's agent is not to be troubled.
            if work.begun and work.outcome.changes and not work.outcome.ok and not work.restored:
                work.restored = True
                keychanges.restore(work, self._targets)
        for work in works:
            keychanges.name_lost(work)

    def conclude(self, outcomes: Sequence[Outcome]) -> None:
        """Restore the monitors, and in qubesd, what belongs to what has failed; note what qubesd keeps. Let VMs go."""
        for outcome in outcomes:
            if outcome.error is not None:
                # What was taken back has not changed.
                outcome.tried, outcome.changes = outcome.changes, {}
            self._plans[outcome.vm].conclude(outcome)
        self._monitors.conclude(outcomes)
        for outcome in outcomes:
            self._outcomes[outcome.vm] = outcome
            self._done(outcome)

    def _done(self, outcome: Outcome) -> None:
        """Let a VM go."""
        # Before that: another push of it ends later.
        outcome.ended = runtime.monotonic()
        self._let_go(outcome.vm)

    def _left(self) -> list[Plan]:
        """Return the plans of VMs of which nothing has failed yet."""
        return [plan for vm, plan in self._plans.items() if vm not in self._outcomes]

    def _pass(
        self,
        plans: Sequence[Plan],
        speak: Callable[[Part], Part | None],
        wait: Callable[[Part], None] = lambda part: None,
    ) -> list[Outcome]:
        """Call *speak*, and *wait* where that leaves something, with the VMs of each store; return their outcomes."""
        self._desired = {plan.live.vm: self._monitors.left(plan.live) for plan in plans}
        outcomes: dict[str, Outcome] = {}
        # A VM's own store; with a firewall, its provider's store and the XenStore beside it.
        cost = 3 if any(one.firewall is not None for one in self._desired.values()) else 1
        for vms in self._targets.waves(self._desired, cost):
            groups.run(self._parts(vms, outcomes), speak, wait)
        return list(outcomes.values())

    def _parts(self, vms: Sequence[str], outcomes: dict[str, Outcome]) -> list[Part]:
        """Find *vms*, give each its place in *outcomes*, and return those that are to be pushed to together."""
        errors: dict[str, VMInterfaceError] = {}
        desired = {vm: self._desired[vm] for vm in vms}
        # A VM without keys in a store is not searched for in one.
        called = [vm for vm, one in desired.items() if one.by_call_alone]
        stored = {vm: one for vm, one in desired.items() if vm not in called}
        found = self._targets.find(stored, errors, access=stored) if stored else {}
        starting = [vm for vm, error in errors.items() if isinstance(error, VMStarting)]
        for vm, one in desired.items():
            running = self._monitors.is_running(vm) if vm in called else vm in found or vm in errors
            outcome = outcomes[vm] = Outcome(vm, running=running, persistent=bool(one.persist) and vm not in called)
            if running:
                outcome.error = None if vm in starting else errors.get(vm)
            elif one.require_running:
                outcome.error = VMNotRunning(f"{vm} is not running (require_running is set)")
            else:
                try:
                    self._routed[vm].check_halted(one)
                except InvalidValue as error:
                    outcome.error = error
        absent = [vm for vm in stored if vm not in found and vm not in starting]
        guarded = [vm for vm in absent if desired[vm].firewall is not None]
        alone = [vm for vm in absent if vm not in guarded]
        lost: dict[str, VMInterfaceError] = {}
        return [
            *(Part({t.vm: outcomes[t.vm] for t in group}, lost, group) for group in observed.by_store(found.values())),
            *(Part({vm: outcomes[vm]}, lost, starting=True) for vm in starting),
            *(Part({vm: outcomes[vm]}, lost) for vm in called),
            *(Part({vm: outcomes[vm] for vm in some}, lost) for some in (guarded, alone) if some),
        ]

    def _wait_for_store(self, part: Part) -> None:
        """Wait for the QubesDB of a VM that is starting; that takes of its time."""
        ((vm, outcome),) = part.outcomes.items()
        one = self._desired[vm]
        deadline = Deadline.after(one.wait_before_writing)
        try:
            part.targets.append(self._targets.wait_for(vm, self._stop, deadline, timeout=one.timeout))
        except VMInterfaceError as error:
            outcome.error = error
        self._desired[vm] = one.after_wait(deadline.seconds - deadline.remaining)


def _check_names(target: Target, fields: Mapping[str, object]) -> None:
    """Raise InvalidValue for a field that the VM's store can have no key of."""
    for name in fields:
        group, _, member = name.partition(":")
        # What has a hash for its name is read by VMs that have a QubesDB.
        hashed = group == "services" and hashed_app(member) and not target.store.per_vm
        if hashed or not target.store.allows(keys.for_field(name).name):
            # A QubesDB takes every name that a pillar may have.
            what = "service" if group == "services" else "key"
            raise InvalidValue(
                f"{target.vm}: XenStore cannot hold the {what} '{member}' (expected a name without dots)"
            )


def diff(settings: Iterable[VMSettings], targets: Targets) -> list[Outcome]:
    """Return for each VM what a push would change. Writes nothing."""
    return Push(list(settings), targets, runtime.event()).inspect()


def push(
    settings: Iterable[VMSettings],
    targets: Targets,
    *,
    stop: threading.Event | None = None,
    report: Callable[[list[Outcome]], None] = lambda outcomes: None,
    open_locks: Callable[[], VMLocks] = VMLocks,
    keep: Callable[[list[Outcome]], None] = lastpush.note,
) -> list[Outcome]:
    """Bring every running VM to its settings and return the outcome of each, in the order of *settings*.

    No other push of this host writes to a VM meanwhile. Never raises for an error of a single VM: that is in its
    outcome. Raises ConnectionLost or DeadlineExceeded when the XenStore cannot be reached at all, LockUnavailable. At
    Ctrl-C or SIGTERM what no agent has acknowledged is taken back; the exception then has the outcomes as its text.
    The same is done, without an exception, when a caller that takes signals itself sets its *stop*. *report* is called
    with the outcomes while no signal cuts it short. *open_locks* makes what takes the VMs' locks; *keep* keeps for
    later the outcome of each VM. The result is a line of the history too; where that cannot be written there is a
    notice, and the push is as good as without it.
    """
    from vminterface.dom0.push.record import Record  # here, as a diff has none

    desired = list(settings)
    record = Record(one.vm for one in desired)

    def run(stop: threading.Event) -> list[Outcome]:
        try:
            outcomes = _in_turns(desired, targets, stop, open_locks)
        except VMInterfaceError as error:
            record.error(error)
            raise
        keep(outcomes)
        record.outcomes(outcomes)
        return outcomes

    if stop is not None:
        outcomes = run(stop)
        report(outcomes)
        return outcomes
    return interrupt.run(run, lambda outcomes: "\n".join(outcome.comment() for outcome in outcomes), report)


def _in_turns(
    settings: Sequence[VMSettings], targets: Targets, stop: threading.Event, open_locks: Callable[[], VMLocks]
) -> list[Outcome]:
    """Push while this program holds the VMs' locks: to those that are free at once, to the others in their turn.

    Raises LockUnavailable, and what a push raises once all have had their turn.
    """
    if not settings:
        return []
    outcomes: dict[str, Outcome] = {}
    late: dict[str, Outcome] = {}
    with open_locks() as locks:

        def turn(some: Sequence[VMSettings], where: Targets) -> None:
            try:
                outcomes.update({outcome.vm: outcome for outcome in Push(some, where, stop, locks.release).run()})
            finally:
                for one in some:
                    locks.release(one.vm)

        def later(some: Sequence[VMSettings]) -> None:
            with targets.another() as own:
                turn(some, own)

        turns = Push.lock(settings, locks, stop, late)
        free = next(turns)
        if len(free) == len(settings):
            turn(free, targets)
        else:
            with runtime.pool(AT_ONCE) as pool:
                begun = [pool.submit(turn, free, targets)] if free else []
                begun += [pool.submit(later, some) for some in turns]
            for done in begun:
                done.result()
    return [{**outcomes, **late}[one.vm] for one in settings]
