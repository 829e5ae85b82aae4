"""What a VM's settings rest on besides dom0's words, looked at now and then: its interfaces and its resolvers.

An interface that is unplugged and comes back, as when the netvm is started again, has lost all that was configured.
"""

from __future__ import annotations

import socket

from vminterface.vm.apply import resolvers
from vminterface.vm.machine import Machine


class Surroundings:
    """Remembers what was there at the last look."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._interfaces, self._resolvers = self._look()

    def changed(self) -> set[str]:
        """Return the settings to be applied again for what is different from the last look."""
        before = self._interfaces, self._resolvers
        self._interfaces, self._resolvers = self._look()
        if self._interfaces != before[0]:
            return {"network", "provider"}
        return {"provider"} if self._resolvers != before[1] else set()

    def _look(self) -> tuple[list[tuple[int, str]], tuple[int, ...]]:
        try:
            # A number is never given twice, so an interface that came back is a new one.
            interfaces = socket.if_nameindex()
        except OSError:
            interfaces = []
        return interfaces, resolvers.stamp(self._machine)
