"""What must hold of every run, checked against its facts alone, so that a run of the lab can be checked as well.

Each check is a function that yields sentences about what does not hold. *untrusted* are VMs that lie or write over
dom0's keys: nobody can promise anything of them, but that no other VM's fate changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence

from tests.simulation.trace import Applied, Began, Ended, Fact, Late, Started, Stopped, Wrote
from vminterface import keys
from vminterface.dom0.push.acknowledgements import INTRODUCTION

#: Seconds that a push may take to let one of its VMs go.
LET_GO = 0.2
#: What a VM's network is made of; the first is its flag.
NETWORK = ("network:ip", "network:gateway", "network:netmask")
#: Fields whose keys are gone while others change.
FLAGS = ("network:ip",)
#: Who writes that a key is gone with the daemon that held it.
LOST = "restart"
#: Kinds of writers that must not write.
TESTS = ("diff", "keys-test")


class Run:
    """The facts of a run in the forms that checks need."""

    def __init__(self, facts: Sequence[Fact], untrusted: Collection[str] = (), lag: float = 0.0) -> None:
        self.facts = facts
        #: Seconds that a VM may see later what dom0 has written, and dom0 what the VM has.
        self.lag = lag
        self.untrusted = frozenset(untrusted)
        self.ended = [one for one in facts if isinstance(one, Ended)]
        #: When who has begun with a VM.
        self.began: dict[tuple[str, str], list[float]] = defaultdict(list)
        #: By VM and key.
        self.writes: dict[tuple[str, str], list[Wrote]] = defaultdict(list)
        self.applied: dict[tuple[str, str], list[Applied]] = defaultdict(list)
        self.started: dict[str, list[float]] = defaultdict(list)
        #: When dom0's store of a VM has lost its keys.
        self.lost: dict[str, list[float]] = defaultdict(list)
        self.ended_vms: dict[str, list[float]] = defaultdict(list)
        #: When something was written to a VM, and when somebody has written.
        self.written: dict[str, list[float]] = defaultdict(list)
        self.written_by: dict[str, list[float]] = defaultdict(list)
        #: Who must not write.
        self.testing: set[str] = set()
        #: Who was stopped for a while, and seconds that a push may take beside its VM's time; None: not known.
        self.paused: frozenset[str] = frozenset()
        self.allowance: float | None = None
        #: By who waited for them, when late events were sent and came.
        self._late: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for one in facts:
            if isinstance(one, Wrote):
                self.writes[one.vm, one.key].append(one)
                self.written[one.vm].append(one.at)
                self.written_by[one.who].append(one.at)
                if one.who == LOST:
                    self.lost[one.vm].append(one.at)
            elif isinstance(one, Began):
                self.began[one.who, one.vm].append(one.at)
                if one.kind in TESTS:
                    self.testing.add(one.who)
            elif isinstance(one, Applied):
                self.applied[one.vm, one.setting].append(one)
            elif isinstance(one, Late):
                self._late[one.who].append((one.at, one.until))
            elif isinstance(one, Started):
                self.started[one.vm].append(one.at)
            elif isinstance(one, Stopped):
                self.ended_vms[one.vm].append(one.at)

    def last(self, vm: str, key: str, until: float) -> Wrote | None:
        """Return the last write of a key until then; None where there is none since the VM's start."""
        found = [one for one in self.writes[vm, key] if one.at <= until]
        start = max((at for at in (*self.started[vm], *self.ended_vms[vm]) if at <= until), default=0.0)
        return found[-1] if found and found[-1].at >= start else None

    def restarted(self, vm: str, since: float, until: float) -> bool:
        """Whether the VM has started anew meanwhile."""
        return any(since < at <= until for at in self.started[vm])

    def lateness(self, who: str, since: float, until: float) -> float:
        """Return how many seconds of that time *who* waited for events that came late, or for what came after them."""
        seconds, done = 0.0, since
        for begin, end in sorted(self._late[who]):
            begin, end = max(begin, done), min(end, until)
            if begin < end:
                seconds, done = seconds + end - begin, end
        return seconds

    def own_until(self, end: Ended) -> float:
        """Return until when writes to the VM can be that push's: a watcher may push again to one that it has let go."""
        return min((at for at in self.began[end.who, end.vm] if end.began < at < end.at), default=end.at)

    def own_since(self, end: Ended) -> float:
        """Return from when on they can: from its lock on, which another push of a watcher may have had before."""
        return end.began if end.locked is None else end.locked

    def is_unsure(self, end: Ended) -> bool:
        """Whether what an earlier push of the same writer has sent to a store that hung may be written during this."""
        earlier = (one for one in self.ended if (one.who, one.vm) == (end.who, end.vm) and one.at <= end.began)
        return any(one.restored is False for one in earlier)

    def value(self, vm: str, field: str, until: float) -> str | None:
        """Return the text of the key of a field then."""
        found = self.last(vm, keys.for_field(field).name, until)
        return None if found is None or found.new is None else found.new.decode("utf-8", "surrogateescape")


Check = Callable[[Run], Iterator[str]]


def set_means_applied(run: Run) -> Iterator[str]:
    """A push says "set" without more only of what the agent has applied and has acknowledged to this push.

    It need not have applied it a second time where the VM has the value already; but it is in the middle of nothing
    else then.
    """
    for end in run.ended:
        plain = end.comment.endswith(" set") and ";" not in end.comment
        if end.kind != "push" or not end.ok or not plain or end.vm in run.untrusted:
            continue
        if run.restarted(end.vm, end.began, end.at):
            continue
        for field in end.changed:
            # qubesd adds what outlasts the VM.
            if field not in end.texts or not (setting := keys.for_field(field).setting):
                continue
            why = _not_applied(run, end, field, setting)
            acknowledged = any(
                end.began <= one.at <= end.at and one.who.startswith("agent")
                for one in run.writes[end.vm, keys.acknowledgement(setting)]
            )
            if why or not acknowledged:
                why = why or f"the agent has not acknowledged {setting} since"
                yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but {why}"


def _not_applied(run: Run, end: Ended, field: str, setting: str) -> str:
    """Return why the VM has not, at the end of a push, what that says of a field; empty text if it has.

    Where the VM sees things later, an acknowledgement of the same value to an earlier push may be on its way still, and
    count: the VM has the value soon after, unless somebody sets another one.
    """
    text = end.texts[field]
    soon = [one for one in run.applied[end.vm, setting] if end.at < one.at <= end.at + run.lag]
    if any(one.accepted and one.inputs.get(field) == text for one in soon) or (run.lag and text is None):
        return ""
    if any(end.at < one.at <= end.at + run.lag for one in run.writes[end.vm, keys.for_field(field).name]):
        return ""
    start = max((at for at in run.started[end.vm] if at <= end.at), default=0.0)
    done = [one for one in run.applied[end.vm, setting] if start <= one.at <= end.at]
    if not done and text is None:
        return ""
    if not done or not done[-1].accepted or done[-1].inputs.get(field) != text:
        has = f"it has {done[-1].inputs.get(field)}" if done else "nothing"
        return f"the agent has not applied {field}: {text}, but {has}"
    later = next((one for one in run.applied[end.vm, setting] if one.at > end.at), None)
    if later is not None and later.began < end.at and later.inputs.get(field) != text:
        again = any(one.at > later.at and one.inputs.get(field) == text for one in run.applied[end.vm, setting])
        if run.lag and done[-1].began < end.began and again:
            # It was taken back, and set again before the VM saw that: see "What is not covered" in reliability.md.
            return ""
        return f"the agent is in the middle of applying {field}: {later.inputs.get(field)}, not {text}"
    return ""


def nothing_to_do_means_applied(run: Run) -> Iterator[str]:
    """A push says "already as configured" only if the store holds it; where an agent is there, it has applied it."""
    for end in run.ended:
        if end.kind != "push" or not end.ok or not end.comment.endswith("already as configured"):
            continue
        if end.vm in run.untrusted or run.restarted(end.vm, end.began, end.at):
            continue
        for field, text in end.texts.items():
            key = keys.for_field(field).name
            held = [run.value(end.vm, field, end.began)]
            held += [
                None if one.new is None else one.new.decode("utf-8", "surrogateescape")
                for one in run.writes[end.vm, key]
                if end.began <= one.at <= end.at
            ]
            if text not in held:
                yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but {key} was {held}, never {text}"
            agent = run.last(end.vm, keys.AGENT, end.at)
            setting = keys.for_field(field).setting
            if not end.confirm or not setting or agent is None or agent.new is None or agent.at > end.began:
                continue
            if why := _not_applied(run, end, field, setting):
                yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but {why}"


def failure_leaves_nothing(run: Run) -> Iterator[str]:
    """What a failed push has written is not there any more when it says so."""
    for end in run.ended:
        if end.kind != "push" or end.ok or end.restored is False or end.vm in run.untrusted:
            continue
        if any(end.began <= at <= end.at for at in run.lost[end.vm]) or run.is_unsure(end):
            continue
        if run.restarted(end.vm, end.began, end.at):
            # Nothing is left of it, and another push may have written the same to the VM since.
            continue
        since, until, own = run.own_since(end), run.own_until(end), (end.who, f"qubesd for {end.who}")
        for field, text in end.texts.items():
            last = run.last(end.vm, keys.for_field(field).name, until)
            if last is None or last.who not in own or not since <= last.at:
                continue
            held = None if last.new is None else last.new.decode("utf-8", "surrogateescape")
            # What it found there once it had the lock, which another may have put there while it waited for that.
            found = next(one.old for one in run.writes[end.vm, last.key] if one.who in own and since <= one.at)
            if held == text and last.new != found:
                yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but its {field}: {text} is still there"


def qubesd_forgets_failures(run: Run) -> Iterator[str]:
    """What qubesd has stored of a failed push is taken back there; and it keeps what was set."""
    for end in run.ended:
        if end.kind != "push" or end.restored is False:
            continue
        since, until = run.own_since(end), run.own_until(end)
        for (vm, key), writes in run.writes.items():
            if vm != end.vm or not key.startswith("feature/") or end.ok:
                continue
            own = [one for one in writes if one.who == end.who and since <= one.at <= until]
            if own and own[-1].new != own[0].old:
                yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but qubesd keeps {key} {own[-1].new!r}"


def all_or_nothing(run: Run) -> Iterator[str]:
    """A push that ends leaves a VM with all of its values or with those of before, as far as it has written any."""
    for end in run.ended:
        if end.kind != "push" or end.restored is False or end.vm in run.untrusted or run.is_unsure(end):
            continue
        last: dict[str, str | None] = {}
        since, until = run.own_since(end), run.own_until(end)
        for field in end.texts:
            for one in run.writes[end.vm, keys.for_field(field).name]:
                if one.who == end.who and since <= one.at <= until:
                    last[field] = None if one.new is None else one.new.decode("utf-8", "surrogateescape")
        wrong = {field: text for field, text in last.items() if text != end.texts[field]}
        if end.ok and wrong:
            yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but it has written {wrong}"


def nothing_taken_back(run: Run) -> Iterator[str]:
    """Who puts a former value back takes only its own one away, never what another has set."""
    wanted: dict[tuple[str, str], Began] = {}
    unsure: set[tuple[str, str]] = set()
    for fact in run.facts:
        if isinstance(fact, Began):
            wanted[fact.who, fact.vm] = fact
        elif isinstance(fact, Ended):
            wanted.pop((fact.who, fact.vm), None)
            if fact.restored is False:
                # What it has sent to a store that hangs may be written at any time later.
                unsure.add((fact.who, fact.vm))
        elif isinstance(fact, Wrote) and (began := wanted.get((fact.who, fact.vm))) is not None:
            field = next((name for name in began.texts if keys.for_field(name).name == fact.key), None)
            # In a QubesDB, which has no transactions, nobody can tell for certain.
            if (
                field is None
                or began.kind != "push"
                or (fact.who, fact.vm) in unsure
                or (fact.vm in run.untrusted and run.lag)
            ):
                continue
            new = None if fact.new is None else fact.new.decode("utf-8", "surrogateescape")
            if new == began.texts[field] or (new is None and field in FLAGS):
                continue
            earlier = [one for one in run.writes[fact.vm, fact.key] if one.at <= fact.at and one is not fact]
            before = earlier[-1] if earlier else None
            ours = before is None or before.who in (fact.who, "restart") or before.who.startswith("qubesd")
            if before is not None and not ours and before.new is not None:
                yield f"{fact.who} puts {field}: {new} back at {fact.at:.3f} s over {before.new!r} of {before.who}"


def tests_write_nothing(run: Run) -> Iterator[str]:
    """A diff, and a state in test mode, write nothing."""
    for fact in run.facts if run.testing else ():
        if isinstance(fact, Wrote) and fact.who in run.testing:
            yield f"{fact.who}, which is to write nothing, writes {fact.key} of {fact.vm} at {fact.at:.3f} s"


def networks_are_whole(run: Run) -> Iterator[str]:
    """An agent never applies a network that is made of two writers' values."""
    wanted: dict[str, list[tuple[str | None, ...]]] = defaultdict(list)
    # Bare keys are written as they are named, one by one where a store has no transactions.
    loose = run.untrusted | {one.vm for one in run.facts if isinstance(one, Began) and one.kind == "keys"}
    for fact in run.facts:
        if isinstance(fact, Began):
            wanted[fact.vm].append(tuple(fact.texts.get(field) for field in NETWORK))
        elif isinstance(fact, Applied) and fact.setting == "network" and fact.inputs.get(FLAGS[0]):
            found = tuple(fact.inputs.get(field) for field in NETWORK)
            if fact.vm not in loose and found not in wanted[fact.vm]:
                yield f"the agent of {fact.vm} applies at {fact.at:.3f} s a network of nobody: {found}"


def not_running_is_true(run: Run) -> Iterator[str]:
    """A push says that a VM is not running only of one that has ended since it began, or is about to start."""
    for end in run.ended:
        if end.running or end.kind not in ("push", "diff"):
            continue
        absent = [gone for gone in run.ended_vms[end.vm] if gone <= end.at]
        started = max((at for at in run.started[end.vm] if at <= end.at), default=0.0)
        if not absent or (started > absent[-1] and started < end.began):
            yield f"{end.who} says at {end.at:.3f} s '{end.comment}', but {end.vm} has run since {started:.3f} s"


def nobody_waits_for_ever(run: Run) -> Iterator[str]:
    """A push ends within its VM's time and what each hanging store may cost, whatever happens."""
    for end in run.ended:
        if end.kind in ("push", "diff") and end.who not in run.paused and run.allowance is not None:
            limit = 2.5 * end.timeout + run.allowance + run.lateness(end.who, end.began, end.at)
            if end.at - end.began > limit:
                yield f"{end.who} has taken {end.at - end.began:.3f} s for {end.vm} (at most {limit:.3f} s)"


def locks_go_with_their_vm(run: Run) -> Iterator[str]:
    """A push lets others have a VM as soon as all is done there, whatever it still waits for elsewhere."""
    for end in run.ended:
        # Where nothing was set or put back, nobody but the push knows what it has waited for.
        clear = end.ok or end.restored
        if end.kind != "push" or end.locked is None or not clear or end.vm in run.untrusted or end.who in run.paused:
            continue
        if run.allowance is None or any(
            end.locked < at <= end.at for at in (*run.started[end.vm], *run.ended_vms[end.vm])
        ):
            continue
        last = max((at for at in run.written[end.vm] if at <= end.at), default=0.0)
        # Each of its VMs has some exchanges of its own at the end, one VM after the other.
        others = sum((one.who, one.began) == (end.who, end.began) for one in run.ended) - 1
        since = max(end.locked, last)
        allowance = run.allowance + others * LET_GO + run.lateness(end.who, since, end.at)
        limit = since + allowance
        if (agent := run.last(end.vm, keys.AGENT, end.at)) is None or agent.new is None:
            limit += INTRODUCTION * end.timeout
        # What the push writes to its other VMs meanwhile, such as what it puts back there, takes its time.
        for at in sorted(run.written_by[end.who]):
            if last < at <= min(limit, end.at):
                limit = max(limit, at + allowance)
        if end.at > limit:
            yield f"{end.who} has the lock of {end.vm} until {end.at:.3f} s, where nothing happens since {last:.3f} s"


CHECKS: tuple[Check, ...] = (
    set_means_applied,
    nothing_to_do_means_applied,
    failure_leaves_nothing,
    qubesd_forgets_failures,
    all_or_nothing,
    nothing_taken_back,
    tests_write_nothing,
    networks_are_whole,
    not_running_is_true,
    nobody_waits_for_ever,
    locks_go_with_their_vm,
)


def check(run: Run) -> list[str]:
    """Return what does not hold of a run."""
    return [f"{one.__name__.replace('_', ' ')}: {text}" for one in CHECKS for text in one(run)]
