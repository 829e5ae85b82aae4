"""What a seed stands for: which VMs there are, who writes to them when, and which faults happen meanwhile.

A scenario is data: it can be printed, and an actor or a fault can be left out of it while all else stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings

VMS = ("work", "mail", "vault")
#: Fields of the pillar that writers set, all writers of a scenario the same.
FIELDS = ("timezone", "services", "network")
ZONES = ("UTC", "Europe/Berlin", "Asia/Tokyo", "America/Lima", "Africa/Cairo", "Europe/Warsaw", "Asia/Kolkata")
WATCHER = "watcher"
#: Faults that often befall a host with one.
FOR_WATCHER = ("vm restarts", "vm ends", "interrupt", "agent hangs", "agent hangs", "dom0's daemon restarts")
#: Of so many seeds one has a watcher.
WATCHED = 8
#: The choice of the last push, which no other writer has.
LAST = len(ZONES) - 1


@dataclass(frozen=True, slots=True)
class Round:
    """What an actor does once: brings its VMs to the values *choice*, *pause* seconds after what it did before."""

    pause: float
    choice: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: *kind* is push, diff, keys, keys-test or watch; the rounds of a watcher are its pillar's."""

    name: str
    kind: str
    vms: tuple[str, ...]
    rounds: tuple[Round, ...]
    confirm: bool = True
    timeout: float = 2.0

    def __str__(self) -> str:
        what = ", ".join(f"{one.choice} after {one.pause:.3g} s" for one in self.rounds)
        return f"{self.name}: {self.kind} of {', '.join(self.vms)}: {what}{'' if self.confirm else '; not confirmed'}"


@dataclass(frozen=True, slots=True)
class Fault:
    """*kind* befalls *target* at a time, and is over *seconds* later."""

    at: float
    kind: str
    target: str
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} of {self.target} at {self.at:.3f} s{f' for {self.seconds:.3g} s' if self.seconds else ''}"


@dataclass(frozen=True, slots=True)
class Agent:
    """How the agent of a VM is: when it starts (None: never), how slow it is, what it refuses."""

    vm: str
    start: float | None = 0.0
    seconds: float = 0.0
    refused: frozenset[str] = frozenset()

    def __str__(self) -> str:
        start = "never starts" if self.start is None else f"starts at {self.start:.3g} s"
        slow = f", takes {self.seconds:.3g} s for each setting" if self.seconds else ""
        return f"agent of {self.vm}: {start}{slow}{f', refuses {sorted(self.refused)}' if self.refused else ''}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One schedule: the seed decides too what is not written here, such as how long each message is on its way."""

    seed: int
    channel: str
    fields: tuple[str, ...]
    agents: tuple[Agent, ...]
    actors: tuple[Actor, ...]
    faults: tuple[Fault, ...] = ()
    #: Share of events that are late, and of those that come twice; seconds that the slowest messages take.
    late: float = 0.0
    twice: float = 0.0
    slowest: float = 0.02
    #: Whether qubesd runs, so that settings are persistent.
    qubesd: bool = False
    #: The VMs that the scenario is about.
    vms: tuple[str, ...] = field(default=VMS)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"seed {self.seed}: {', '.join(self.vms)} on {self.channel}{' with qubesd' if self.qubesd else ''}, "
                f"writers set {', '.join(self.fields)}; {self.late:.0%} of the events late, {self.twice:.0%} twice",
                *map(str, self.agents),
                *map(str, self.actors),
                *map(str, self.faults),
            ]
        )

    def without(self, one: Actor | Fault) -> Scenario:
        """Return the scenario without an actor or a fault."""
        return replace(
            self,
            actors=tuple(other for other in self.actors if other is not one),
            faults=tuple(other for other in self.faults if other is not one),
        )

    @classmethod
    def of(cls, seed: int) -> Scenario:
        """Return what *seed* stands for."""
        random = Random(f"{seed} scenario")
        if seed % WATCHED == 1:
            return cls._watched(seed, random)
        vms = VMS[: random.choice((1, 1, 1, 2, 2, 3))]
        channel = random.choice(("xenstore", "qubesdb"))
        qubesd = channel == "qubesdb" and random.random() < 0.3
        # The network of a VM is attached by qubesd, which is another program's part.
        known = FIELDS[:2] if qubesd else FIELDS
        fields = tuple(name for name in known if random.random() < 0.5) or (random.choice(known),)
        actors = tuple(_actor(random, number, vms) for number in range(random.choice((1, 2, 2, 2, 3))))
        return cls._with(seed, random, channel, fields, actors, (0.002, 0.02, 0.2), vms=vms, qubesd=qubesd)

    @classmethod
    def _watched(cls, seed: int, random: Random) -> Scenario:
        """Return one with a watcher, beside which others push less often."""
        vms = VMS[: random.choice((1, 2, 2, 3))]
        channel = random.choice(("xenstore", "qubesdb"))
        qubesd = channel == "qubesdb" and random.random() < 0.2
        known = FIELDS[:2] if qubesd else FIELDS
        fields = tuple(name for name in known if random.random() < 0.4) or (random.choice(known),)
        # Each of its pillars is another one, so that a change back need not be noticed.
        choices = random.sample(range(3), random.choice((1, 1, 2, 3)))
        pauses = [_moment(random) / 2, *(0.2 + random.random() * 4 for _ in choices[1:])]
        rounds = tuple(map(Round, pauses, choices))
        watch = Actor(WATCHER, "watch", vms, rounds, random.random() < 0.9, random.choice((0.4, 1.0, 2.0, 5.0)))
        actors = (watch, *(_actor(random, number, vms) for number in range(random.choice((0, 0, 1)))))
        return cls._with(seed, random, channel, fields, actors, (0.002, 0.002, 0.02), vms=vms, qubesd=qubesd)

    @classmethod
    def _with(
        cls,
        seed: int,
        random: Random,
        channel: str,
        fields: tuple[str, ...],
        actors: tuple[Actor, ...],
        slowest: tuple[float, ...],
        *,
        vms: tuple[str, ...],
        qubesd: bool,
    ) -> Scenario:
        """Return one of these *actors* with agents, faults and delays, of which *slowest* are the choices."""
        return cls(
            seed,
            channel,
            fields,
            tuple(_agent(random, vm) for vm in vms),
            actors,
            tuple(sorted(_faults(random, vms, actors, channel, qubesd=qubesd), key=lambda fault: fault.at)),
            late=random.choice((0.0, 0.0, 0.1, 0.5)),
            twice=random.choice((0.0, 0.0, 0.3)),
            slowest=random.choice(slowest),
            qubesd=qubesd,
            vms=vms,
        )


def _actor(random: Random, number: int, vms: tuple[str, ...]) -> Actor:
    kind = random.choice(("push", "push", "push", "push", "keys", "diff", "keys-test")) if number else "push"
    some = vms if random.random() < 0.7 else tuple(vm for vm in vms if random.random() < 0.5) or vms[:1]
    if kind.startswith("keys"):
        some = some[:1]
    count = random.choice((1, 1, 2, 3))
    rounds = tuple(Round(_moment(random), random.randrange(3)) for _ in range(count))
    timeout = random.choice((0.4, 1.0, 2.0))
    return Actor(f"admin {number + 1}", kind, some, rounds, random.random() < 0.85, timeout)


def _agent(random: Random, vm: str) -> Agent:
    start = random.choice((0.0, 0.0, 0.0, random.random() * 2, random.random() * 2, None))
    seconds = random.choice((0.0, 0.0, 0.0, random.random() * 0.3, random.random() * 1.5))
    refused = frozenset({random.choice(("timezone", "services", "network"))} if random.random() < 0.15 else ())
    return Agent(vm, start, seconds, refused)


def _moment(random: Random) -> float:
    """Draw a time that others' are often near to."""
    return random.choice((0.0, random.random() * 0.01, random.random() * 0.2, random.random() * 3))


def _during(random: Random, actor: Actor) -> float:
    """Draw a time at which *actor* probably is at work."""
    begin = sum(one.pause for one in actor.rounds[: random.randrange(len(actor.rounds)) + 1])
    # It has to settle first.
    begin += 0.35 if actor.kind == "watch" else 0.0
    return begin + random.choice((random.random() * 0.01, random.random() * 0.1, random.random() * actor.timeout))


def _faults(
    random: Random, vms: tuple[str, ...], actors: tuple[Actor, ...], channel: str, *, qubesd: bool
) -> list[Fault]:
    found = []
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        vm = random.choice(vms)
        actor = random.choice(actors)
        writer = actor.name
        kinds = {
            "kill": writer,
            "stop": writer,
            "interrupt": writer,
            "agent dies": vm,
            "agent ends": vm,
            "agent fails once": vm,
            "slow agent": vm,
            "store hangs": vm,
            "connections lost": vm,
            "vm restarts": vm,
            "intruder": vm,
            "foreign write": vm,
        }
        if actors[0].kind == "watch":
            kinds |= {"agent hangs": vm, "vm ends": vm, "xenstored restarts": "xenstored", "pillar is wrong": writer}
        if channel == "xenstore":
            kinds |= {"nodes used up": vm}
        if channel == "qubesdb":
            kinds |= {"dom0's daemon restarts": vm, "vm's daemon restarts": vm, "dom0's daemon dies": vm}
        if qubesd:
            kinds |= dict.fromkeys(
                ("qubesd stores, then fails", "qubesd refuses", "qubesd hangs", "qubesd dies"), "qubesd"
            )
        kind = random.choice(list(kinds))
        if actors[0].kind == "watch" and random.random() < 0.5:
            # What a watcher is there for, and what ends it.
            kinds["interrupt"] = WATCHER
            kind = random.choice([one for one in FOR_WATCHER if one in kinds])
        at = _during(random, actor) if random.random() < 0.6 else _moment(random) + _moment(random) / 2
        found.append(Fault(at, kind, kinds[kind], random.random() * (8 if kind == "agent hangs" else 3)))
    return found


def pillar(vm: str, choice: int, fields: tuple[str, ...]) -> dict[str, Any]:
    """Return what the pillar says of *vm* in the values *choice*."""
    number = VMS.index(vm)
    values: dict[str, Any] = {
        "timezone": ZONES[choice],
        "services": {"cups": choice % 2 == 0, "clocksync": (True, False, "default")[choice % 3]},
        "network": {
            "ip": f"10.{choice}.{number}.12",
            "gateway": f"10.{choice}.{number}.1",
            "netmask": "255.255.255.0" if choice % 2 else "255.255.255.255",
        },
    }
    return {name: values[name] for name in fields}


@cache
def settings(
    vm: str, choice: int, fields: tuple[str, ...], channel: str, confirm: bool, timeout: float, persist: bool
) -> VMSettings:
    """Return the same as settings."""
    return replace(_parsed(vm, choice, fields, persist), confirm=confirm, timeout=timeout)


@cache
def _parsed(vm: str, choice: int, fields: tuple[str, ...], persist: bool) -> VMSettings:
    raw = pillar(vm, choice, fields)
    return VMSettings.parse(vm, raw if persist else {**raw, "persist": False})


@cache
def texts(vm: str, choice: int, fields: tuple[str, ...]) -> dict[str, str | None]:
    """Return the texts of the keys that these have, by field; None: no key."""
    desired = settings(vm, choice, fields, "auto", True, 1.0, False).desired
    return {name: keys.text_of(name, value) for name, value in desired.items()}
