"""A TCP server on this machine's loopback that sends back what it gets, or does what a test says."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.support.listener import Listener


def echo(connection: socket.socket) -> None:
    """Send back all that comes, as it comes, until the other side has sent its last."""
    while piece := connection.recv(65536):
        connection.sendall(piece)


class EchoServer(Listener):
    """Listens on ``port`` inside the ``with`` block; each connection is *serve*'s until that returns."""

    def __init__(self, serve: Callable[[socket.socket], None] = echo) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        super().__init__(listener, serve)
