"""The daemon's sockets: one thread, one selector, many clients, bounded buffers.

A folder plays the hypervisor: domain N exists while ``dom<N>`` is in it, and N's processes connect to
``dom<N>/xenbus``, as they would open ``/dev/xen/xenbus``. dom0's connect to ``run/socket``.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from pathlib import Path

from lab.xenstored.client import Client
from lab.xenstored.domains import Domain, Quotas
from lab.xenstored.store import Store
from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire.xenstore import SERVER, BadRequest, Connection, ConnectionClosed, Op, Request, WatchEvent

#: Bytes that wait for a client before it must read on to be served again.
OUTPUT_LIMIT = 65536
#: Bytes that are read at once: more would leave a heap of hundreds of clients in pieces.
INPUT_PIECE = 8192
#: Different events that may wait for a client; one that lets more of them wait is cut off.
EVENT_LIMIT = 65536


class Peer:
    """One connected client: its stream, its protocol state, and what it is in the store."""

    def __init__(self, stream: socket.socket, client: Client) -> None:
        self.stream = stream
        self.client = client
        self.protocol = Connection(SERVER)
        self.output = bytearray()
        self.ended = False

    @property
    def stalled(self) -> bool:
        """Whether its next request has to wait: it does not read, or has too many requests outstanding."""
        return len(self.output) >= OUTPUT_LIMIT

    def queue_events(self) -> None:
        """Move waiting events to the output as far as it goes."""
        while not self.stalled and (event := self.client.take_event()):
            with contextlib.suppress(LocalProtocolError):  # an event that fits no message is dropped
                self.output += self.protocol.send(WatchEvent(*event))


class Server:
    """The daemon below the folder *root*."""

    def __init__(self, root: Path, quotas: Quotas | None = None) -> None:
        self.root = root
        self.store = Store(self._exists, quotas)
        self.store.on_introduced = self._listen_to
        self.store.on_released = self._drop
        self._selector = selectors.DefaultSelector()
        self._peers: dict[Client, Peer] = {}
        #: Those to look at before the next wait, and those that are served no further for now.
        self._active: set[Peer] = set()
        self._waiting: set[Peer] = set()
        self._listeners: dict[int, socket.socket] = {}
        (root / "run").mkdir(parents=True, exist_ok=True)
        self._listen(0, root / "run" / "socket")

    def _exists(self, domid: int) -> bool:
        return (self.root / f"dom{domid}").is_dir()

    def _listen(self, domid: int, path: Path) -> None:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.bind(str(path))
        listener.listen(128)
        self._listeners[domid] = listener
        self._selector.register(listener, selectors.EVENT_READ, domid)

    def _listen_to(self, domain: Domain) -> None:
        if domain.domid:
            self._listen(domain.domid, self.root / f"dom{domain.domid}" / "xenbus")

    def _drop(self, domain: Domain) -> None:
        listener = self._listeners.pop(domain.domid, None)
        if listener:
            self._selector.unregister(listener)
            listener.close()
            (self.root / f"dom{domain.domid}" / "xenbus").unlink(missing_ok=True)
        for peer in [p for p in self._peers.values() if p.client.domain is domain]:
            self._close(peer)

    def serve(self, stop: socket.socket) -> None:
        """Serve until *stop* can be read; SIGUSR1's number in it is :meth:`hang_up` alone."""
        self._selector.register(stop, selectors.EVENT_READ, "stop")
        while True:
            for key, what in self._selector.select():
                if key.data == "stop":
                    if set(stop.recv(64)) != {signal.SIGUSR1}:
                        return
                    self.hang_up()
                    break
                if isinstance(key.data, int):
                    self._accept(self._listeners.get(key.data), key.data)
                elif key.data.client in self._peers:
                    self._active.add(key.data)
                    self._serve_peer(key.data, what)
            self._settle()

    def hang_up(self) -> None:
        """End all connections, with their watches and transactions; the nodes stay, as over some restarts."""
        for peer in list(self._peers.values()):
            self._close(peer)

    def close(self) -> None:
        """End all connections and remove the sockets."""
        for peer in list(self._peers.values()):
            self._close(peer)
        for listener in self._listeners.values():
            with contextlib.suppress(OSError):
                os.unlink(listener.getsockname())
            listener.close()
        self._listeners.clear()
        self._selector.close()

    def _accept(self, listener: socket.socket | None, domid: int) -> None:
        if listener is None:
            return
        try:
            stream, _address = listener.accept()
        except OSError:  # it is gone again, or this process has no descriptor left for it
            return
        stream.setblocking(False)
        peer = Peer(stream, self.store.connect(self.store.domains.introduced(domid) if domid else None))
        self._peers[peer.client] = peer
        self._selector.register(stream, selectors.EVENT_READ, peer)

    def _serve_peer(self, peer: Peer, what: int) -> None:
        if what & selectors.EVENT_READ:
            try:
                data = peer.stream.recv(INPUT_PIECE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if data:
                peer.protocol.receive_data(data)
            else:
                peer.ended = True

    def _settle(self) -> None:
        """Answer whatever can be answered now and send whatever can be sent, until nothing moves."""
        touched: set[Peer] = set()
        while self._active:
            batch, self._active = self._active, set()
            for peer in batch:
                if peer.client in self._peers:
                    self._reply(peer)
            batch |= {self._peers[client] for client in self.store.notified if client in self._peers}
            self.store.notified.clear()
            for peer in batch:
                if peer.client in self._peers:
                    self._send(peer)
            touched |= batch
            # What was sent may have made room for those that had to wait.
            self._active |= {peer for peer in self._waiting if not self._throttled(peer)}
            self._waiting -= self._active
        for peer in touched:
            if peer.client in self._peers:
                self._await(peer)

    def _throttled(self, peer: Peer) -> bool:
        domain = peer.client.domain
        return peer.stalled or (domain is not None and domain.outstanding >= self.store.quotas.outstanding)

    def _reply(self, peer: Peer) -> None:
        while not self._throttled(peer):
            try:
                event = peer.protocol.next_event()
            except RemoteProtocolError:
                self._close(peer)
                return
            if isinstance(event, ConnectionClosed):
                self._close(peer)
                return
            if not isinstance(event, Request | BadRequest):
                if peer.ended:
                    self._close(peer)
                return
            reply, ticket = self.store.handle(peer.client, event)
            # Watches fire while the request is done; a new watch's own first event comes when it is registered.
            if not (isinstance(event, Request) and event.op is Op.WATCH):
                peer.queue_events()
            peer.output += peer.protocol.send(reply)
            peer.queue_events()
            if ticket:
                ticket.release()
        self._waiting.add(peer)

    def _send(self, peer: Peer) -> None:
        peer.queue_events()
        if len(peer.client.pending) > EVENT_LIMIT:
            self._close(peer)
            return
        while peer.output:
            try:
                sent = peer.stream.send(peer.output)
            except BlockingIOError:
                return
            except OSError:
                self._close(peer)
                return
            del peer.output[:sent]
            peer.queue_events()

    def _await(self, peer: Peer) -> None:
        desired = selectors.EVENT_WRITE if peer.output else 0
        if not peer.ended and not self._throttled(peer):
            desired |= selectors.EVENT_READ
        registered = self._selector.get_map().get(peer.stream)
        if registered is None:
            if desired:
                self._selector.register(peer.stream, desired, peer)
        elif not desired:
            self._selector.unregister(peer.stream)
        elif registered.events != desired:
            self._selector.modify(peer.stream, desired, peer)

    def _close(self, peer: Peer) -> None:
        self._peers.pop(peer.client, None)
        self._active.discard(peer)
        self._waiting.discard(peer)
        if self._selector.get_map().get(peer.stream):
            self._selector.unregister(peer.stream)
        peer.stream.close()
        self.store.disconnect(peer.client)
