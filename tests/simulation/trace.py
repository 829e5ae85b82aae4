"""What has happened in a run, as facts that invariants are checked against: a simulated run's, or one of the lab's.

A fact says when, who and what: a key was written, an agent has applied a setting, a writer has begun, ended, or died.
Times are seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Texts = Mapping[str, str | None]


# Not frozen, as it is made so often that it would be seen in the time of a run; nobody changes a fact.
@dataclass(slots=True)
class Wrote:
    """*who* has changed the key *key* of *vm* in dom0's view; None: there is no such key."""

    at: float
    who: str
    vm: str
    key: str
    old: bytes | None
    new: bytes | None
    #: The same number for what became visible at once.
    batch: int


@dataclass(frozen=True, slots=True)
class Applied:
    """The agent of *vm* has given the VM the setting, whose keys had these texts by field; or it has refused.

    It was at it since *began*.
    """

    at: float
    vm: str
    setting: str
    inputs: Mapping[str, str]
    accepted: bool
    began: float


@dataclass(frozen=True, slots=True)
class Started:
    """*vm* has started: what was written for it and applied in it before is gone."""

    at: float
    vm: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """*vm* has ended."""

    at: float
    vm: str


@dataclass(frozen=True, slots=True)
class Began:
    """*who* begins to bring *vm* to *texts* by field; *kind* is push, diff, keys or keys-test."""

    at: float
    who: str
    kind: str
    vm: str
    texts: Texts


@dataclass(frozen=True, slots=True)
class Ended:
    """What it says of that; *changed* are the fields that it reports as changed."""

    at: float
    who: str
    kind: str
    vm: str
    texts: Texts
    began: float
    ok: bool
    comment: str
    changed: tuple[str, ...] = ()
    #: Whether former values were put back after an error; None: nothing had to be.
    restored: bool | None = None
    running: bool = True
    #: Whether it waited for an acknowledgement, and the seconds that the VM had.
    confirm: bool = True
    timeout: float = 5.0
    #: When it got the VM's lock; infinite: never; None: not known.
    locked: float | None = None


@dataclass(frozen=True, slots=True)
class Died:
    """*who*, which may have been in the middle of something, was ended by kill -9."""

    at: float
    who: str


@dataclass(frozen=True, slots=True)
class Watched:
    """What became of the watcher *who*: *what* is starts, pillar, told, ends, killed, says; *text* is what it says."""

    at: float
    who: str
    what: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Disturbed:
    """Until then nobody can expect the watcher to do anything for *vm*, or for any where that is empty."""

    at: float
    until: float
    vm: str = ""


@dataclass(frozen=True, slots=True)
class Late:
    """A watch event for *who* that came late, and with it what the daemon sent after it; it came at *until*."""

    at: float
    until: float
    who: str


Fact = Wrote | Applied | Started | Stopped | Began | Ended | Died | Watched | Disturbed | Late


@dataclass(slots=True)
class Trace:
    """Facts in their order."""

    facts: list[Fact] = field(default_factory=list)
    #: Which VM has its keys below which path.
    homes: dict[str, str] = field(default_factory=dict)
    #: Whether VMs read QubesDBs and not the XenStore; and what was written to the wrong one all the same.
    on_qubesdb: bool = False
    astray: list[str] = field(default_factory=list)
    #: Paths of VMs that have ended.
    gone: set[str] = field(default_factory=set)
    #: The number of the batch that is being written.
    batch: int = 0

    def wrote(self, at: float, who: str, store: str, path: str, old: bytes | None, new: bytes | None) -> None:
        """Take a write to a store's *path*; *store* is the VM's name where the store is one VM's."""
        if path.startswith("/local/domain/"):
            home, _, key = path[14:].partition("/")
            vm = self.homes.get(path[:14] + home, "")
            if path[:14] + home in self.gone and new is not None:
                self.astray.append(f"{who} writes {path} at {at:.3f} s, whose VM has ended")
                return
            if self.on_qubesdb and vm and who not in ("toolstack",):
                self.astray.append(f"{who} writes {path} at {at:.3f} s, where VMs of a host of QubesDBs read nothing")
                return
            if self.on_qubesdb:
                return
        else:
            vm, key = store, path[1:]
        if vm and key and old != new:
            self.facts.append(Wrote(at, who, vm, key, old, new, self.batch))
