"""A stand-in for dom0's policy daemon: replies to each request as a test says, and keeps what it was asked."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from tests.support.listener import Listener

Reply = Callable[[dict[str, str]], bytes]


def denying(*vms: str) -> Reply:
    """Return what denies the calls of *vms* and allows all others."""
    return lambda asked: b"result=deny\n" if asked["source"] in vms else b"result=allow"


class PolicyDaemon(Listener):
    """Listens at *path* inside the ``with`` block."""

    def __init__(self, path: Path, reply: Reply) -> None:
        self.asked: list[dict[str, str]] = []
        self._reply = reply
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(64)
        super().__init__(listener, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\n\n"):
            request += connection.recv(4096)
        asked = dict(line.split("=", 1) for line in request.decode().splitlines() if line)
        self.asked.append(asked)
        connection.sendall(self._reply(asked))
