"""A simulated qubesd: features of VMs, which its extensions write into running VMs at once, and calls that fail.

It stores first and acts on it then, so a call that fails, or gets no reply in time, may have been stored all the same.
Sources: Qubes core-admin, its extensions ``services`` and ``vm_config``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.simulation.daemons import Connection, Daemon, Step
from tests.simulation.qubesdb import Pair
from tests.simulation.scheduler import Process, World
from tests.simulation.trace import Trace
from vminterface.channel.adminapi import AdminAPI, Domain, Line, Property
from vminterface.channel.adminevents import EventStream
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import ConnectionLost, KeyNotFound, PermissionDenied, VMInterfaceError
from vminterface.wire.adminevents import AdminEvent

SOCKET = "/run/qubesd.sock"
#: Seconds that one call may take.
TIMEOUT = 1.0
#: What the names of features begin with that are keys of a running VM, and what these keys begin with.
_WRITTEN = {"service.": "/qubes-service/", "vm-config.": "/vm-config/"}


class SimulatedQubesd(Daemon):
    """The daemon; *pairs* are the QubesDBs of running VMs."""

    def __init__(self, world: World, trace: Trace, vms: tuple[str, ...], pairs: Mapping[str, Pair]) -> None:
        super().__init__(world, "qubesd", trace)
        self.features: dict[str, dict[str, str]] = {vm: {} for vm in vms}
        self.pairs = pairs
        #: How many of the next changes fail, and whether these are stored before.
        self.failing, self.storing = 0, True
        self.streams: list[_Stream] = []

    def tell(self, vm: str, name: str) -> None:
        """Send an event to all who listen."""
        for stream in self.streams:
            stream.connection.push(lambda stream=stream: stream.add(AdminEvent(vm, name, {})))  # type: ignore[misc]

    def set_feature(self, who: str, vm: str, name: str, value: str | None) -> None:
        """Set or remove a feature."""
        fails, self.failing = self.failing > 0, max(0, self.failing - 1)
        if not fails or self.storing:
            held = self.features[vm]
            old = held.get(name)
            if value is None:
                held.pop(name, None)
            else:
                held[name] = value
            before, after = (None if text is None else text.encode() for text in (old, value))
            self.trace.wrote(self.world.now, who, vm, f"/feature/{name}", before, after)
        if fails:
            self.world.note(self.name, f"{'stores' if self.storing else 'does not store'} feature {name}, and fails")
            raise PermissionDenied(f"feature {name} of {vm}: qubesd refuses it without a reason")
        self._write(f"qubesd for {who}", vm, name, value)
        self.tell(vm, f"domain-feature-{'delete' if value is None else 'set'}:{name}")

    def start(self) -> None:
        self.failing = 0
        super().start()

    def start_vm(self, vm: str) -> None:
        """Write the keys of a VM that starts."""
        for name, value in self.features[vm].items():
            self._write("qubesd", vm, name, value)
        self.tell(vm, "domain-start")

    def _write(self, who: str, vm: str, name: str, value: str | None) -> None:
        for prefix, folder in _WRITTEN.items():
            if name.startswith(prefix) and vm in self.pairs and self.pairs[vm].dom0.up:
                path, dom0 = folder + name.removeprefix(prefix), self.pairs[vm].dom0
                if value is not None:
                    text = ("1" if value else "0") if prefix == "service." else value
                    dom0.write(who, path, text.encode())
                elif path in dom0.keys:
                    dom0.remove(who, path)


class Client(Qubesd):
    """What asks the simulated qubesd for *process*."""

    available = True
    expected = True

    def __init__(self, daemon: SimulatedQubesd, process: Process) -> None:
        super().__init__()
        self._daemon, self._process = daemon, process

    def connect(self, timeout: float | None = None) -> AdminAPI:
        return API(self._daemon, self._process, min(timeout or TIMEOUT, TIMEOUT))


class _Stream(EventStream):
    """The events that have come and that nobody has taken yet."""

    def __init__(self, daemon: SimulatedQubesd, process: Process) -> None:
        self._events: list[AdminEvent] = []
        self._waiting: Callable[[Any], None] | None = None
        self._streams = daemon.streams
        self.connection = Connection(daemon, process, SOCKET)
        self.connection.at_end.append(self._hung_up)
        self.connection.ask([lambda: self._streams.append(self)], Deadline.after(TIMEOUT))

    def _hung_up(self) -> None:
        if self in self._streams:
            self._streams.remove(self)
        if self._waiting is not None:
            self._waiting(None)

    def add(self, event: AdminEvent) -> None:
        """Take an event that has come."""
        self._events.append(event)
        if self._waiting is not None:
            self._waiting(None)

    def next(self, deadline: Deadline) -> AdminEvent:
        while not self._events:
            if self.connection.closed_because:
                raise ConnectionLost(f"{SOCKET}: {self.connection.closed_because}")
            deadline.check("events of qubesd")
            self._waiting = self.connection.world.waker()
            self.connection.world.wait(deadline.expires)
            self._waiting = None
        return self._events.pop(0)

    def close(self) -> None:
        self.connection.close()


class API(AdminAPI):
    """The client of the simulated qubesd that *process* has."""

    def __init__(self, daemon: SimulatedQubesd, process: Process, timeout: float = TIMEOUT) -> None:
        super().__init__(None, Line(SOCKET, timeout))
        self._daemon, self._process = daemon, process

    def events(self, timeout: float | None = None) -> EventStream:
        return _Stream(self._daemon, self._process)

    def _ask(self, step: Step) -> Any:
        connection = Connection(self._daemon, self._process, SOCKET)
        try:
            (reply,) = connection.ask([step], Deadline.after(self.timeout))
        finally:
            connection.close()
        if isinstance(reply, VMInterfaceError):
            raise reply
        return reply

    def domains(self) -> dict[str, Domain]:
        return {vm: Domain(vm, "AppVM", "Running") for vm in self._ask(lambda: list(self._daemon.features))}

    def features(self, vm: str) -> list[str]:
        return list(self._ask(lambda: self._daemon.features[vm]))

    def feature(self, vm: str, name: str) -> str | None:
        value: str | None = self._ask(lambda: self._daemon.features[vm].get(name))
        return value

    def feature_with_template(self, vm: str, name: str) -> str | None:
        return self.feature(vm, name)

    def set_feature(self, vm: str, name: str, value: str | None) -> None:
        self._ask(lambda: self._daemon.set_feature(self._process.name, vm, name, value))

    def property(self, vm: str, name: str) -> Property:
        raise KeyNotFound(f"property {name} of {vm}: no such property")

    def property_default(self, vm: str, name: str) -> str:
        raise KeyNotFound(f"property {name} of {vm}: no such property")
