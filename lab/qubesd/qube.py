"""One VM as qubesd knows it, and what it does outside of qubesd: its QubesDB and its domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.qubesd.assignment import Assignment
from lab.qubesd.firewall import Rule

#: Writes a key of a running VM's QubesDB: VM, key without its first slash, value; None removes the key, or with a slash
#: at its end everything below it. An exception stands for a QubesDB that does not work.
Live = Callable[[str, str, str | None], None]

#: Runs a service as root in a running VM: VM, service, input. An exception stands for one that fails.
Serve = Callable[[str, str, bytes], object]


class Machines:
    """What is done with domains; this one leaves them, with their QubesDBs, to somebody else. Any call may fail."""

    def create(self, vm: str) -> int | None:
        """Make a domain that does not run yet, with a QubesDB that is empty; return its number, if it has one."""
        return None

    def attach(self, vm: str, netvm: str, mac: str) -> None:
        """Give a domain the network device that *netvm* serves, in place of one that it has."""

    def detach(self, vm: str) -> None:
        """Take the network device of a domain away, if it has one."""

    def unpause(self, vm: str) -> None:
        """Let a domain run."""

    def pause(self, vm: str) -> None:
        """Halt a domain where it is."""

    def call(self, vm: str, service: str, data: bytes) -> object:
        """Call a service of a domain as root with this input; one that fails or takes too long is an exception."""

    def destroy(self, vm: str) -> None:
        """End a domain and its QubesDB."""


@dataclass
class Qube:
    """A VM. Tests may change its features and properties at any time, which causes no event."""

    klass: str = "AppVM"
    state: str = "Halted"
    features: dict[str, str] = field(default_factory=dict)
    #: Those that somebody has set, in the text that Get gives.
    properties: dict[str, str] = field(default_factory=dict)
    #: Bytes that each volume has.
    volumes: dict[str, int] = field(default_factory=lambda: {"private": 2 << 30, "root": 10 << 30})
    firewall: list[Rule] = field(default_factory=lambda: [Rule.parse("action=accept")])
    #: Devices that it gets when it starts.
    assignments: list[Assignment] = field(default_factory=list)
    #: Labels that admins sort VMs by; ``guivm-NAME`` and ``audiovm-NAME`` are qubesd's own.
    tags: set[str] = field(default_factory=set)
    #: What somebody has written about it.
    notes: str = ""
    #: The domain's number; -1 while there is none.
    xid: int = -1
    #: The VM that serves the domain's network device; empty: it has none.
    attached: str = ""

    @property
    def running(self) -> bool:
        """Whether there is a domain."""
        return self.state != "Halted"

    @property
    def paused(self) -> bool:
        """Whether there is a domain, and it does not run."""
        return self.state == "Paused"
