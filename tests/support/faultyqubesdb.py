"""A QubesDB daemon that answers well until a certain request, and then misbehaves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from lab.qubesdb.side import Client, Side
from vminterface.wire.qubesdb import DAEMON, NEED_DATA, BadRequest, Connection, Request

#: Plays a fault: gets the stream, and what a good daemon would say now.
Fault = Callable[[socket.socket, bytes], None]


class FaultyDaemon:
    """Serves at *path*. After *after* requests, one gets *fault*, which ends its connection; later ones are served."""

    def __init__(self, path: str, fault: Fault, after: int = 0) -> None:
        self.side = Side()
        self.asked: list[Request] = []
        self._error, self._left = fault, after
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._streams: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def played(self) -> bool:
        """Whether the fault has been played."""
        return self._left < 0

    def stop(self) -> None:
        """End everything."""
        for one in (self._listener, *self._streams):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(5)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self._streams.append(stream)
            thread = threading.Thread(target=self._serve, args=(stream,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, stream: socket.socket) -> None:
        connection = Connection(DAEMON)
        reply = bytearray()
        client = Client(lambda event: reply.extend(connection.send(event)))
        self.side.clients.add(client)
        with stream, suppress(OSError):
            while True:
                while (request := connection.next_event()) is NEED_DATA:
                    connection.receive_data(stream.recv(65536))
                if not isinstance(request, Request | BadRequest):
                    break
                if isinstance(request, Request):
                    self.asked.append(request)
                    self._left -= 1
                    if self._left == -1:
                        twin = Side()
                        twin.database.values = dict(self.side.database.values)
                        twin.handle(client, request)
                        self._error(stream, bytes(reply))
                        break
                self.side.handle(client, request)
                stream.sendall(reply)
                reply.clear()
        self.side.clients.discard(client)
