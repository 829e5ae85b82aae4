"""A dom0 of Qubes R4 whose VMs have a network: qubesd starts and ends them itself, and writes their provider's keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.qubesd import Machines
from lab.qubesd.stores import StoreWriter
from tests.support.qubesd import qubes_r4
from tests.support.qubesdb import QubesHost
from tests.support.qubesr4 import QubesR4


class _Machines(Machines):
    """The domains: each has the QubesDB daemons of *host* while it runs, which start empty."""

    def __init__(self, host: QubesHost) -> None:
        self._host = host

    def create(self, vm: str) -> None:
        self._host.start_vm(vm)

    def destroy(self, vm: str) -> None:
        self._host.stop_vm(vm)


class R4(QubesR4):
    """``qubesd.start_vm`` and ``qubesd.stop_vm`` start and end a VM with its QubesDB."""

    def rules(self, vm: str) -> str:
        """What qubesd keeps as the firewall of *vm*, one rule a line."""
        return "\n".join(rule.render() for rule in self.qubesd.qubes[vm].firewall)

    def keys(self, vm: str, below: str) -> dict[str, str]:
        """The keys of a running VM at and below a path that begins with a slash."""
        with self.host.store(vm) as store:
            found = store.tree("/")
        return {path: text.decode() for path, text in found.items() if path == below or path.startswith(f"{below}/")}

    def asked(self, *methods: str) -> list[tuple[str, str, str]]:
        """The calls of *methods* (without ``admin.vm.``) since this was last called; all others are forgotten."""
        calls = [call for call in self.qubesd.calls if call[0].removeprefix("admin.vm.") in methods]
        self.qubesd.calls.clear()
        return calls


@contextmanager
def r4(folder: Path, *vms: str) -> Iterator[R4]:
    """A dom0 with sys-net running, which provides network to *vms*; these are halted."""
    with QubesHost(folder / "qdb") as host:
        machines = _Machines(host)
        with qubes_r4(folder, *vms, live=StoreWriter(host.store), machines=machines) as qubesd:
            qubesd.start_vm("sys-net")
            yield R4(host, qubesd)
