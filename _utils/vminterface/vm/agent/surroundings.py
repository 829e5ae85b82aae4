"""Detect local changes that require settings to be applied again: interfaces and resolvers.

An interface that is unplugged and comes back, as when the netvm is started again, has lost all that was configured.
"""

from __future__ import annotations

import socket

from vminterface.vm.machine.files import Files
from vminterface.vm.net import resolvers


class Surroundings:
    """Remembers the state at the last check."""

    def __init__(self, machine: Files) -> None:
        self._machine = machine
        self._interfaces, self._resolvers = self._inspect()

    def changed(self) -> set[str]:
        """Return the settings to apply again because of changes since the last check."""
        before = self._interfaces, self._resolvers
        self._interfaces, self._resolvers = self._inspect()
        if self._interfaces != before[0]:
            return {"network", "provider"}
        return {"provider"} if self._resolvers != before[1] else set()

    def _inspect(self) -> tuple[list[tuple[int, str]], tuple[int, ...]]:
        try:
            # A number is never given twice, so an interface that came back is a new one.
            interfaces = socket.if_nameindex()
        except OSError:
            interfaces = []
        return interfaces, resolvers.stamp(self._machine)
