"""Where a running VM's keys are: the store that holds them and the path that they start with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore import XenStore
from vminterface.errors import VMNotRunning, printable

#: Seconds that the store has for one batch of requests, however large.
STORE_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """One running VM. ``base`` ends with a slash."""

    vm: str
    domid: int
    store: KeyStore
    base: str

    def path(self, name: str) -> str:
        """Return the path of the key called *name* (``qubes-timezone``)."""
        return self.base + name


class Targets:
    """Finds running VMs; opens each store once, when it is first needed. Use it in a ``with`` block."""

    def __init__(self, open_xenstore: Callable[[], XenStore] | None = None) -> None:
        self._open_xenstore = open_xenstore or (lambda: XenStore.open(timeout=STORE_TIMEOUT))
        self._xenstore: XenStore | None = None

    @property
    def xenstore(self) -> XenStore:
        """The host's XenStore. Raises ConnectionLost where there is none."""
        if self._xenstore is None:
            self._xenstore = self._open_xenstore()
        return self._xenstore

    def running(self) -> dict[str, int]:
        """Return the domids of the running VMs by name, dom0 left out."""
        return self.xenstore.domains()

    def find(self, vms: Iterable[str]) -> dict[str, Target]:
        """Return a target for each of *vms* that is running; the others are left out."""
        running = self.running()
        return {vm: self._target(vm, running[vm]) for vm in vms if vm in running}

    def one(self, vm: str) -> Target:
        """Return the target of *vm*. Raises VMNotRunning."""
        domid = self.running().get(vm) if isinstance(vm, str) else None
        if domid is None:
            raise VMNotRunning(f"{printable(str(vm), 60)}: no running VM has this name")
        return self._target(vm, domid)

    def _target(self, vm: str, domid: int) -> Target:
        return Target(vm, domid, self.xenstore, f"/local/domain/{domid}/")

    def close(self) -> None:
        """Close the stores that were opened."""
        if self._xenstore is not None:
            self._xenstore.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
