"""One VM as qubesd knows it, and what it does outside of qubesd: its QubesDB and its domain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from lab.qubesd.firewall import Rule

#: Writes a key of a running VM's QubesDB: VM, key without its first slash, value; None removes the key, or with a slash
#: at its end everything below it. An exception stands for a QubesDB that does not work.
Live = Callable[[str, str, str | None], None]


class Machines(Protocol):
    """Starts and ends the domains, each with a QubesDB that is empty at first."""

    def create(self, vm: str) -> None:
        """Start the domain and its QubesDB."""

    def destroy(self, vm: str) -> None:
        """End both."""


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
    #: The domain's number; -1 while there is none.
    xid: int = -1

    @property
    def running(self) -> bool:
        """Whether there is a domain."""
        return self.state != "Halted"
