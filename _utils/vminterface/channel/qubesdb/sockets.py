"""The QubesDBs of a host as dom0 meets them: each VM's is a socket, which comes and goes with the VM."""

from __future__ import annotations

import os

from vminterface.channel.qubesdb import places
from vminterface.channel.store import VMStore


class Sockets:
    """Those in *folder*, if not where they usually are."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder

    def in_use(self) -> bool:
        """Whether VMs have QubesDBs on this host."""
        return places.in_use(self._folder)

    def vms(self) -> list[str]:
        """Return the names of the VMs that have a socket, of a daemon that runs or not. Raises ConnectionLost."""
        return places.find_vms(self._folder)

    def find(self, vm: str) -> str | None:
        """Return the path of the socket of *vm*, None where there is none. Raises InvalidValue for no VM's name."""
        return places.find_socket(vm, self._folder)

    def mark(self, path: str) -> tuple[int, ...]:
        """Return what is another one for each socket that has been at *path*. Raises OSError."""
        made = os.stat(path)
        return made.st_ino, made.st_ctime_ns

    def open(self, path: str, timeout: float) -> VMStore:
        """Connect to the daemon at *path*. Raises ConnectionLost, whose cause shows whether the daemon is gone."""
        # Here, as a host that has none needs none of it.
        from vminterface.channel.qubesdb.store import QubesDB

        return QubesDB(path, timeout)
