"""A GUI agent on a stream socket that says a version to one daemon and keeps what it is told."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

from vminterface.wire.gui import CURRENT


class Agent:
    """Listens where a GUI agent does, and says *version* to whoever comes."""

    def __init__(self, path: Path) -> None:
        self.version = CURRENT
        self.heard = b""
        self._ear = socket.socket(socket.AF_UNIX)
        self._ear.bind(str(path))
        self._ear.listen(1)
        self._thread = threading.Thread(target=self._reply, daemon=True)
        self._thread.start()

    def _reply(self) -> None:
        stream = self._ear.accept()[0]
        with stream:
            stream.sendall(self.version.render())
            while data := stream.recv(4096):
                self.heard += data

    def told(self) -> bytes:
        """Return what came in all."""
        self._thread.join(10)
        return self.heard
