"""What was switched off before a suspend and is to be switched on again after it: lists that outlive a call.

They are gone with the next start of the VM, as ``/run`` is.
"""

from __future__ import annotations

from vminterface.vm.machine.files import Files

FOLDER = "/run/vminterface/suspended"


class List:
    """One list of short texts in a file of its own, in the order in which they came."""

    def __init__(self, machine: Files, name: str) -> None:
        self._machine = machine
        self._path = f"{FOLDER}/{name}"

    def items(self) -> list[str]:
        """Return what is in it."""
        return (self._machine.read_text(self._path) or "").splitlines()

    def add(self, item: str) -> None:
        """Let *item* be in it."""
        items = self.items()
        if item not in items:
            self._write([*items, item])

    def remove(self, item: str) -> None:
        """Let *item* not be in it."""
        self._write([one for one in self.items() if one != item])

    def _write(self, items: list[str]) -> None:
        if items:
            self._machine.write_file(self._path, "".join(f"{item}\n" for item in items), 0o600)
        else:
            self._machine.remove(self._path)


def interfaces(machine: Files) -> List:
    """Return the list of network interfaces that were set down."""
    return List(machine, "interfaces")


def devices(machine: Files) -> List:
    """Return the list of PCI devices that were unbound: address, blank, driver."""
    return List(machine, "pci-devices")


def modules(machine: Files) -> List:
    """Return the list of kernel modules that were unloaded."""
    return List(machine, "modules")
