"""What all parts of the daemon share: the VMs, the host's own settings, the QubesDBs, the events."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from lab.qubesd.errors import Refused, Unanswered, no_such_vm
from lab.qubesd.events import Events
from lab.qubesd.names import check_name
from lab.qubesd.qube import Live, Machines, Qube, Serve

T = TypeVar("T")

#: Bytes of a QubesDB's path and value at most (qubesdb's protocol).
PATH_MAX, VALUE_MAX = 63, 3071
KERNEL = "6.12.47-1.fc41"
LABELS = {
    "red": "0xcc0000", "orange": "0xf57900", "yellow": "0xedd400", "green": "0x73d216",
    "gray": "0x555555", "blue": "0x3465a4", "purple": "0x75507b", "black": "0x000000",
}  # fmt: skip

#: The host's own properties: kind and default.
HOST_DEFAULTS: dict[str, tuple[str, str | None]] = {
    "check_updates_vm": ("bool", "True"), "clockvm": ("vm", ""), "default_audiovm": ("vm", "dom0"),
    "default_dispvm": ("vm", ""), "default_guivm": ("vm", "dom0"), "default_kernel": ("str", None),
    "default_netvm": ("vm", ""), "default_qrexec_timeout": ("int", "60"), "default_shutdown_timeout": ("int", "60"),
    "default_template": ("vm", None), "management_dispvm": ("vm", ""), "stats_interval": ("int", "3"),
    "updatevm": ("vm", ""),
}  # fmt: skip

#: Returns a default for the VM of this name; None: the property has no value.
Default = Callable[["System", str], str | None]
#: Returns the normal form of a text for the VM of this name. Raises Refused, Unanswered.
Setter = Callable[["System", str, str], str]


@dataclass(frozen=True, slots=True)
class Property:
    """One property. Without a setter it cannot be set; *write_once* ones were set when the VM was made.

    Without *has_default* it has no value at all until it is set.
    """

    kind: str
    default: Default
    setter: Setter | None = None
    help: str = ""
    write_once: bool = False
    has_default: bool = True


@dataclass
class Faults:
    """What does not work; tests set it."""

    #: VMs whose QubesDB fails at each write: what was stored before stays, and there is no reply.
    dead_qubesdb: set[str] = field(default_factory=set)
    #: Seconds that attaching the network of a VM takes, in which the daemon does nothing else.
    attach_seconds: dict[str, float] = field(default_factory=dict)
    #: VMs whose network cannot be attached: no reply, the netvm stays.
    attach_fails: set[str] = field(default_factory=set)
    #: Seconds from the start of a VM's domain to the connection of its qrexec agent.
    qrexec_seconds: float = 0.0
    #: What is done after a call has been made, by method and argument, before its reply: it may take its time, and
    #: raise Refused or Unanswered, although the call has stored what it was to store.
    afterwards: dict[tuple[str, str], list[Callable[[], object]]] = field(default_factory=dict)


class System:
    """The state of the daemon; everything is done under its lock."""

    def __init__(
        self,
        qubes: Mapping[str, Qube],
        classes: Mapping[str, Mapping[str, Property]],
        live: Live,
        machines: Machines,
    ) -> None:
        self._classes = classes
        self.qubes = {"dom0": Qube("AdminVM", "Running", xid=0, properties={"label": "black"}), **qubes}
        #: Properties of the host: those that somebody has set.
        self.properties = {"default_kernel": KERNEL}
        if "sys-net" in self.qubes:
            self.properties["default_netvm"] = "sys-net"
        #: Names of the kernels that are installed.
        self.kernels = [KERNEL]
        #: Memory of the machine, in MiB.
        self.memory_total = 16384
        #: dom0's time zone.
        self.timezone: str | None = "Etc/UTC"
        self.faults = Faults()
        self.events = Events()
        self.lock = threading.RLock()
        #: Set when the daemon ends: nothing waits any longer.
        self.ending = threading.Event()
        self.machines = machines
        #: Runs a service in a VM; tests set it.
        self.serve: Serve = machines.call
        self._live = live
        self._qids: dict[str, int] = {}
        self._last_xid = 0
        for name in self.qubes:
            self.qid(name)

    @contextmanager
    def unlocked(self) -> Iterator[None]:
        """Let others be served meanwhile; for who holds the lock once."""
        self.lock.release()
        try:
            yield
        finally:
            self.lock.acquire()

    def work(self, do: Callable[..., T], vm: str, *more: object) -> T:
        """Do something with the domain of *vm*. Raises Unanswered where that fails."""
        try:
            return do(vm, *more)
        except Exception as error:
            raise Unanswered(f"{vm}: {error}") from error

    def names(self) -> list[str]:
        """Return the VMs in the order in which qubesd goes through them: dom0, then by name."""
        return sorted(self.qubes, key=lambda name: (name != "dom0", name))

    def qube(self, name: str) -> Qube:
        """Return a VM. Raises Refused."""
        if name not in self.qubes:
            raise no_such_vm(name)
        return self.qubes[name]

    def qid(self, name: str) -> int:
        """Return the number that a VM has for good."""
        return 0 if name == "dom0" else self._qids.setdefault(name, len(self._qids) + 1)

    def named(self, text: str) -> str:
        """Return the name of the VM that *text* is the name or, after ``uuid:``, the UUID of. Raises Refused."""
        if not text.startswith("uuid:"):
            check_name(text)
            self.qube(text)
            return text
        if not re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text[5:]):
            raise Refused("QubesVMInvalidUUIDError", "VM UUID is not valid: %r", text[5:])
        for name in self.qubes:
            if self.uuid(name) == text[5:]:
                return name
        raise no_such_vm(text)

    def uuid(self, name: str) -> str:
        """Return the VM's UUID."""
        return str(uuid.UUID(int=0) if name == "dom0" else uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.example.org"))

    def next_xid(self) -> int:
        """Return a number for a new domain."""
        self._last_xid += 1
        return self._last_xid

    def inherited(self, name: str, feature: str, *ways: str) -> str | None:
        """Return a feature of a VM, or of what it takes features from: ``template``, ``netvm``, ``adminvm``."""
        current, seen = name, set[str]()
        while current in self.qubes and current not in seen:
            seen.add(current)
            if feature in self.qubes[current].features:
                return self.qubes[current].features[feature]
            current = next((self.reference(current, way) for way in ways if way != "adminvm"), "")
        return self.qubes["dom0"].features.get(feature) if "adminvm" in ways else None

    def definitions(self, vm: str) -> Mapping[str, Property]:
        """Return the properties that a VM of its class has, by name."""
        return self._classes[self.qubes[vm].klass]

    def value(self, vm: str, name: str) -> str | None:
        """Return a property's text; None where it has neither a value nor a default."""
        set_to = self.qubes[vm].properties
        if name in set_to:
            return set_to[name]
        found = self.definitions(vm).get(name)
        return None if found is None else found.default(self, vm)

    def host_value(self, name: str) -> str | None:
        """Return the text of a property of the host itself."""
        return self.properties.get(name, HOST_DEFAULTS[name][1])

    def reference(self, name: str, prop: str) -> str:
        """Return the VM that a property names; empty where it names none."""
        return self.value(name, prop) or ""

    def has_pci(self, vm: str) -> bool:
        """Whether PCI devices are assigned to a VM."""
        return any(one.device_class == "pci" for one in self.qubes[vm].assignments)

    def connected(self, netvm: str) -> Iterator[str]:
        """Yield the VMs whose network *netvm* provides."""
        for name in self.names():
            if self.reference(name, "netvm") == netvm:
                yield name

    def write(self, vm: str, key: str, value: str) -> None:
        """Write a key of a running VM's QubesDB. Raises Unanswered where that fails."""
        if len(key) + 1 > PATH_MAX or len(value.encode()) > VALUE_MAX:
            raise Unanswered(f"{vm}: /{key} is too long for QubesDB")
        self._qubesdb(vm, key, value)

    def remove(self, vm: str, key: str) -> None:
        """Remove a key of a running VM's QubesDB, or with a slash at its end everything below it."""
        self._qubesdb(vm, key, None)

    def _qubesdb(self, vm: str, key: str, value: str | None) -> None:
        if vm == "dom0":
            # Its own QubesDB, which no VM can see.
            return
        if vm in self.faults.dead_qubesdb or not self.qubes[vm].running or self.qubes[vm].klass == "RemoteVM":
            raise Unanswered(f"{vm}: its QubesDB cannot be reached")
        try:
            self._live(vm, key, value)
        except Exception as error:
            raise Unanswered(f"{vm}: /{key}: {error}") from error
