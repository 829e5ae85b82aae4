"""What must hold of a run's watcher, checked against the facts: when it pushes, why, and how it ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tests.simulation.invariants import Run
from tests.simulation.scenario import Actor, Scenario, texts
from tests.simulation.trace import Began, Disturbed, Ended, Fact, Texts, Watched, Wrote
from vminterface import keys
from vminterface.dom0.push.watch.ending import END
from vminterface.dom0.push.watch.watcher import ATTEMPTS, CHECK_SECONDS, CHECK_SOON, FIRST_PAUSE, SETTLE

#: Seconds in which it has to notice what happens, beside what messages take; and messages of one look.
PROMPT, MESSAGES = CHECK_SECONDS + CHECK_SOON + SETTLE + 0.4, 20
#: Seconds within which a disturbance, such as a hanging XenStore, may have kept it from noticing something.
LATE = 6.0

Pushed = tuple[Began, Ended | None]


class Watch:
    """What the watcher that *actor* is did in a run of *scenario*."""

    def __init__(self, run: Run, actor: Actor, scenario: Scenario) -> None:
        self.run, self.who, self.vms, self._fields = run, actor.name, actor.vms, scenario.fields
        #: Whether qubesd's events are reasons to push, too.
        self.by_qubesd = scenario.qubesd
        self.prompt = PROMPT + MESSAGES * scenario.slowest
        self.own = [one for one in run.facts if isinstance(one, Watched)]
        self.last = max((one.at for one in self.own), default=0.0)
        self.pushes: dict[str, list[Pushed]] = defaultdict(list)
        self.disturbed = [one for one in run.facts if isinstance(one, Disturbed)]
        self._pair(run.facts)

    def _pair(self, facts: Sequence[Fact]) -> None:
        ended = {(one.vm, one.began): one for one in self.run.ended if one.who == self.who}
        for one in facts:
            if isinstance(one, Began) and one.who == self.who:
                self.pushes[one.vm].append((one, ended.get((one.vm, one.at))))

    def texts(self, vm: str, choice: int) -> Texts:
        """Return what *vm* is to have with a choice of the pillar."""
        return texts(vm, choice, self._fields)

    def times(self, *whats: str) -> list[float]:
        """Return when these things happened to it."""
        return [one.at for one in self.own if one.what in whats]

    def causes(self, vm: str) -> list[float]:
        """Return when something happened after which *vm* has to have a push."""
        return sorted({*self.run.started[vm], *self.run.lost[vm], *self.times("starts", "pillar")})

    def reasons(self, vm: str) -> list[float]:
        """Return when something happened after which a push to *vm* is right, failed pushes left out."""
        found = [*self.causes(vm), *(one.at for one in self.disturbed if one.vm in ("", vm))]
        found += [one.at for one in self.announcements(vm)]
        if self.by_qubesd:
            found += [one.at for (of, key), some in self.run.writes.items() if of == vm and "/" in key for one in some]
        return sorted(found)

    def announcements(self, vm: str) -> list[Wrote]:
        """Return when the agent of *vm* announced itself."""
        return [one for one in self.run.writes[vm, keys.AGENT] if one.new is not None]

    def calm(self, vm: str, since: float) -> float:
        """Return from when on, *since* then, nothing keeps it from pushing to *vm*."""
        spans = [(one.at, one.until) for one in self.disturbed if one.vm in ("", vm)]
        # A VM that is done is let go, but the watcher turns to it again once the whole push has ended.
        for begun, _ in self.pushes[vm]:
            ends = [end for some in self.pushes.values() for one, end in some if one.at == begun.at]
            spans.append((begun.at, max(self.last if end is None else end.at + 0.2 for end in ends)))
        again = True
        while again:
            again = False
            for begin, end in spans:
                if begin <= since + self.prompt and end > since:
                    since, again = end, True
        return since


Check = Callable[[Watch], Iterator[str]]


def no_push_without_a_reason(watch: Watch) -> Iterator[str]:
    """It pushes to a VM once for each reason: a start, a pillar, an agent that comes up, a store, a failed attempt."""
    for vm, pushes in watch.pushes.items():
        reasons = watch.reasons(vm)
        failed = sorted(end.at for _, end in pushes if end is not None and not end.ok)
        for number, (begun, _) in enumerate(pushes):
            if number >= sum(at <= begun.at for at in (*reasons, *failed)):
                yield f"the watcher pushes to {vm} at {begun.at:.3f} s, the {number + 1}. time, without a reason"


def attempts_have_pauses(watch: Watch) -> Iterator[str]:
    """What failed is tried again after a pause, and not for ever."""
    if watch.by_qubesd:
        return
    for vm, pushes in watch.pushes.items():
        reasons, failures = watch.reasons(vm), 0
        for (begun, end), (after, _) in pairwise(pushes):
            if end is None or end.ok or any(begun.at - watch.prompt < at <= after.at for at in reasons):
                failures = 0
                continue
            failures += 1
            if after.at < end.at + 0.99 * FIRST_PAUSE and not _kept(watch, vm, begun.at, after.at):
                yield f"the watcher tries {vm} again at {after.at:.3f} s, {after.at - end.at:.3f} s after it failed"
            if failures >= ATTEMPTS:
                yield f"the watcher tries {vm} at {after.at:.3f} s once more, after {failures} attempts"


def starts_are_noticed(watch: Watch) -> Iterator[str]:
    """A VM that has started, and every VM when watcher or pillar are new, gets a push soon, whatever others do."""
    if watch.by_qubesd:
        return
    # A pillar that is wrong soon after may not have been read before.
    gone = watch.times("told", "killed", "wrong")
    for vm in watch.vms:
        causes = watch.causes(vm)
        stopped = watch.run.ended_vms[vm]
        for at in causes:
            until = watch.calm(vm, at) + watch.prompt
            if until > watch.last or any(at <= one <= until for one in (*gone, *stopped)) or _absent(watch, at):
                continue
            if any(at < one <= until for one in causes) or _down(watch, vm, at):
                continue
            if not any(at <= begun.at <= until for begun, _ in watch.pushes[vm]):
                yield f"the watcher does not push to {vm} by {until:.3f} s, where there is a reason since {at:.3f} s"


def agents_are_heard(watch: Watch) -> Iterator[str]:
    """An agent that comes up after the push of its VM's start gets another one, which waits for it."""
    gone = watch.times("told", "killed")
    for vm in sorted(set(watch.vms) - watch.run.untrusted):
        for one in watch.announcements(vm):
            before = [end for _, end in watch.pushes[vm] if end is not None and end.at <= one.at]
            start = max((at for at in watch.causes(vm) if at <= one.at), default=0.0)
            if not before or not before[-1].ok or not before[-1].running or not before[-1].confirm:
                continue
            begun = before[-1].began
            if (
                begun < start
                or not before[-1].at <= one.at
                or watch.run.last(vm, keys.AGENT, before[-1].at) is not None
            ):
                continue
            # The first look finds the agent, the next one pushes.
            if any(b.at <= one.at and (end is None or end.at >= one.at) for b, end in watch.pushes[vm]):
                continue
            until = watch.calm(vm, one.at) + watch.prompt + CHECK_SECONDS
            others = [*gone, *watch.run.ended_vms[vm], *watch.run.lost[vm], *watch.causes(vm)]
            # One that has ended again has nothing to wait for.
            others += [gone.at for gone in watch.run.writes[vm, keys.AGENT] if gone.new is None and gone.at >= one.at]
            if until > watch.last or any(begun <= at <= until for at in others):
                continue
            if not any(one.at <= again.at <= until for again, _ in watch.pushes[vm]):
                yield f"the agent of {vm} is there at {one.at:.3f} s, and the watcher does not push again"


def every_vm_has_its_settings(watch: Watch) -> Iterator[str]:
    """When all has been well for long enough, the last push to each VM was that of its pillar, and went well."""
    choice = next((int(one.text) for one in reversed(watch.own) if one.what == "pillar"), 0)
    for vm in watch.vms:
        since = max(watch.causes(vm))
        pushes = [(begun, end) for begun, end in watch.pushes[vm] if begun.at >= since]
        done = any(end is not None and end.ok and begun.texts == watch.texts(vm, choice) for begun, end in pushes)
        failed = [end.at for _, end in pushes if end is not None and not end.ok]
        # A VM that is slower than its time is tried until the run ends it in the longest of the pauses.
        told = min((at for at in watch.times("told", "killed") if at >= since), default=watch.last)
        pausing = bool(failed) and told < failed[-1] + FIRST_PAUSE * 2 ** (len(failed) - 1)
        if not done and len(failed) < ATTEMPTS and not pausing:
            yield f"{vm} has not got the settings that the pillar has since {since:.3f} s"


def who_ends_says_what_is_left(watch: Watch) -> Iterator[str]:
    """Told to end, it ends in time; of a VM whose push has no result then it says so."""
    for one in watch.own:
        if one.what != "told":
            continue
        end = min((at for at in watch.times("ends", "killed") if at >= one.at), default=None)
        stopped = any(other.at <= one.at + END and other.until > one.at for other in watch.disturbed if not other.vm)
        if end is None or (end > one.at + END + 0.01 and not stopped):
            yield f"the watcher has not ended {END:g} s after it was told to at {one.at:.3f} s"
            continue
        if any(other.at == end for other in watch.own if other.what == "killed"):
            continue
        left = [vm for vm, pushes in watch.pushes.items() if _is_left(watch, pushes, end)]
        for vm in left:
            if not watch.by_qubesd and not _kept(watch, vm, one.at, end):
                yield f"the watcher ends at {end:.3f} s and leaves a push to {vm}, whose store is well, in the middle"
        said = [other.text for other in watch.own if other.what == "says" and one.at <= other.at <= end]
        for vm in left:
            if not any(text.startswith(f"{vm}: ") for text in said):
                yield f"the watcher ends at {end:.3f} s in the middle of a push to {vm} and does not say so"


def nothing_is_unexpected(watch: Watch) -> Iterator[str]:
    """No error that its code does not know is among what it says."""
    for one in watch.own:
        if one.what == "says" and "unexpected" in one.text:
            yield f"the watcher says at {one.at:.3f} s: {one.text}"


def _kept(watch: Watch, vm: str, since: float, until: float) -> bool:
    """Whether something kept it from noticing a reason in time."""
    return any(one.at - LATE <= until and one.until + LATE >= since for one in watch.disturbed if one.vm in ("", vm))


def _absent(watch: Watch, at: float) -> bool:
    """Whether it does not run then."""
    last = next(
        (one for one in reversed(watch.own) if one.at <= at and one.what in ("starts", "told", "killed", "ends")), None
    )
    return last is None or last.what != "starts"


def _down(watch: Watch, vm: str, at: float) -> bool:
    """Whether the VM does not run then."""
    ended = max((one for one in watch.run.ended_vms[vm] if one <= at), default=-1.0)
    return ended >= max((one for one in watch.run.started[vm] if one <= at), default=0.0)


def _is_left(watch: Watch, pushes: Sequence[Pushed], end: float) -> bool:
    """Whether one of *pushes* of the watcher that ends then had no result by then."""
    begun = max(at for at in watch.times("starts") if at <= end)
    return any(begun <= one.at <= end and (done is None or done.at > end) for one, done in pushes)


CHECKS: tuple[Check, ...] = (
    no_push_without_a_reason,
    attempts_have_pauses,
    starts_are_noticed,
    agents_are_heard,
    every_vm_has_its_settings,
    who_ends_says_what_is_left,
    nothing_is_unexpected,
)


def check(watch: Watch) -> list[str]:
    """Return what does not hold."""
    return [f"{one.__name__.replace('_', ' ')}: {text}" for one in CHECKS for text in one(watch)]
