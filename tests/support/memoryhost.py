"""A dom0 of Qubes R4 in a test's memory: VMs with QubesDBs and agents, a XenStore that names them, locks, a qubesd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.adminapi import MemoryAPI, MemoryQubesd
from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface import keys
from vminterface.channel.store import GetPermissions, Operation, SetPermissions
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.errors import ConnectionLost, DeadlineExceeded, KeyNotFound
from vminterface.values.acknowledgement import PENDING, Acknowledgement, digest


class Guest(MemoryStore):
    """The QubesDB of a VM whose agent applies *agent*, empty text for none, and says what ``reply`` returns.

    ``reply`` gets a setting, and returns why it is refused, empty text for what is applied, None for no word at all.
    """

    def __init__(self, clock: Clock, agent: str = "network services timezone", **held: bytes) -> None:
        super().__init__({f"/{name.replace('_', '-')}": value for name, value in held.items()}, clock=clock)
        self.keys["/name"] = b"work"
        if agent:
            self.keys[f"/{keys.AGENT}"] = f"1 0.1.0 {agent}".encode()
        self.reply: Callable[[str], str | None] = lambda setting: ""
        self.then = self._hear
        # An agent acknowledges at its start what is there then.
        self._acknowledge([word for word in agent.split() if "_" not in word])

    @property
    def written(self) -> list[str]:
        """The keys that dom0 has written or removed, in turn, those below ``vminterface`` left out."""
        return [one.path for one in self.done if not one.path.startswith("/vminterface")]

    def _hear(self) -> None:
        settings = [path.rpartition("/")[2] for path, value in self.keys.items() if value == PENDING.encode()]
        if settings and f"/{keys.AGENT}" in self.keys:
            self.meanwhile.append(partial(self._acknowledge, settings))

    def _acknowledge(self, settings: list[str]) -> None:
        for setting in settings:
            if (why := self.reply(setting)) is None:
                continue
            texts = {row.field: observed.decode(v) for p, v in self.keys.items() if (row := keys.for_name(p[1:]))}
            made = Acknowledgement(not why, digest(keys.inputs_of(setting, texts)), why)
            self.keys[f"/{keys.acknowledgement(setting)}"] = made.render().encode()


class Xen(MemoryStore):
    """The XenStore of a host, with transactions; ``vms`` are the running domains."""

    transactions = True

    def __init__(self, clock: Clock) -> None:
        super().__init__(per_vm=False, clock=clock)
        self.vms: dict[str, int] = {}

    def allows(self, name: str) -> bool:
        return "." not in name

    def _outcome(self, one: Operation) -> Any:
        if isinstance(one, GetPermissions):
            return ["n0"] if one.path in self.keys else KeyNotFound(one.path)
        return None if isinstance(one, SetPermissions) else super()._outcome(one)

    def domains(self, *, timeout: float | None = None, unspoken: list[bytes] | None = None) -> dict[str, int]:
        return dict(self.vms)


class Locks:
    """The VMs' locks, of which another program has some until a moment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.until: dict[str, float] = {}
        self.taken: list[str] = []
        self.released: list[str] = []
        self.given_up: list[str] = []
        self.opened = 0

    def __call__(self) -> Locks:
        self.opened += 1
        return self

    def __enter__(self) -> Locks:
        return self

    def __exit__(self, *_: object) -> None:
        """What is left is released with each push."""

    def take(self, vm: str) -> bool:
        if self._clock.now < self.until.get(vm, 0.0):
            return False
        self.taken.append(vm)
        return True

    def release(self, vm: str) -> None:
        self.released.append(vm)

    def give_up(self, vm: str) -> None:
        self.given_up.append(vm)

    def held(self, vm: str, seconds: float) -> DeadlineExceeded:
        return DeadlineExceeded(f"{vm}: another program is writing to it and did not end within {seconds:g} s")


class Host:
    """What a push finds: VMs with ``stores``, those of ``dead`` daemons, and more in the XenStore."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stores: dict[str, MemoryStore] = {}
        self.dead: set[str] = set()
        self.xen = Xen(clock)
        self.api = MemoryAPI()
        self.qubesd = MemoryQubesd(self.api, available=False, expected=False)
        self.locks = Locks(clock)
        self.opened: list[tuple[str, float]] = []

    def vm(self, name: str = "work", agent: str = "network services timezone", **held: bytes) -> Guest:
        """Let a VM run."""
        guest = self.stores[name] = Guest(self.clock, agent, **held)
        self.xen.vms[name] = len(self.xen.vms) + 1
        return guest

    def targets(self) -> Targets:
        """Return what finds the VMs."""
        sockets: Any = self
        xen: Any = self.xen
        return Targets(lambda: xen, sockets=sockets, open_qubesd=lambda: self.qubesd)

    # What stands for the sockets.

    def in_use(self) -> bool:
        return True

    def vms(self) -> list[str]:
        return [*self.stores, *self.dead]

    def find(self, vm: str) -> str | None:
        return vm if vm in self.vms() else None

    def mark(self, path: str) -> tuple[int, ...]:
        return (1,)

    def open(self, path: str, timeout: float) -> MemoryStore:
        self.opened.append((path, timeout))
        if path in self.dead:
            raise ConnectionLost("refused") from ConnectionRefusedError()
        return self.stores[path]
