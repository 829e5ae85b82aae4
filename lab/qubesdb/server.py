"""The daemons' sockets: one thread, one selector, many clients, bounded buffers.

Like the real daemon, this one waits for the rest of a message that has begun and serves nobody else meanwhile.
"""

from __future__ import annotations

import contextlib
import itertools
import selectors
import socket
from collections import deque
from pathlib import Path

from lab.qubesdb.side import VCHAN_REPLIES, Client, Side
from vminterface.errors import LocalProtocolError, RemoteProtocolError
from vminterface.wire.qubesdb import DAEMON, NEED_DATA, BadRequest, Connection, Event, Request

#: Clients that one daemon serves; the next one is hung up on (the real daemon ends there).
CLIENTS_MAX = 256
#: Bytes that may wait for a client; one that lets more of them wait is cut off.
OUTPUT_MAX = 50_000_000
#: Bytes in one write at most: of whole messages, because libqubesdb reads a header in one piece.
CHUNK = 16384


class Peer:
    """One connected client: its stream, its protocol state, and what it is to its daemon."""

    _numbers = itertools.count(1)

    def __init__(self, stream: socket.socket, side: Side, read_only: bool) -> None:
        self.number = next(self._numbers)
        self.stream = stream
        self.side = side
        self.client = Client(self.notify, read_only)
        self.protocol = Connection(DAEMON)
        self.output: deque[bytes] = deque()
        self.waiting = 0
        #: Whether it is hung up on once it has its last answer.
        self.ending = False

    def notify(self, event: Event) -> None:
        """Queue what the daemon says."""
        # An event about a path that was asked for but that no message can hold is dropped.
        with contextlib.suppress(LocalProtocolError):
            message = self.protocol.send(event)
            self.output.append(message)
            self.waiting += len(message)


def _age(ready: tuple[selectors.SelectorKey, int]) -> int:
    peer = ready[0].data
    return -peer.number if isinstance(peer, Peer) else 0


class Server:
    """Pairs of daemons, all of them in this process."""

    def __init__(self) -> None:
        self.pairs: dict[str, tuple[Side, Side]] = {}
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[str, list[socket.socket]] = {}
        self._dom0_folders: dict[str, Path] = {}
        self._peers: set[Peer] = set()

    def add(self, vm: str, dom0_folder: Path, vm_folder: Path | None = None) -> None:
        """Start the pair of *vm*; without *vm_folder* nobody in the VM can connect."""
        self.pairs[vm] = (Side(), Side())
        self._listeners[vm] = []
        self._dom0_folders[vm] = dom0_folder
        inside = self._start_dom0(vm)
        if vm_folder is not None:
            self._listen(vm, inside, vm_folder, "qubesdb")

    def _start_dom0(self, vm: str) -> Side:
        """Start dom0's daemon of *vm*, with no keys; return the VM's, which connects to it."""
        dom0, inside = Side(sigpipe_ends=True), self.pairs[vm][1]
        self.pairs[vm] = (dom0, inside)
        if not inside.ended:
            inside.join(dom0)
        self._listen(vm, dom0, self._dom0_folders[vm], f"qubesdb.{vm}")
        return inside

    def restart_dom0(self) -> None:
        """Start dom0's daemons afresh, as after one of them has ended: they have no keys, the VMs' keep theirs."""
        for vm, (dom0, _) in list(self.pairs.items()):
            dom0.part()
            self._bury(vm, dom0)
            self._start_dom0(vm)

    def restart_dom0_on(self, waker: socket.socket) -> None:
        """Do so whenever something comes through *waker*."""
        self._selector.register(waker, selectors.EVENT_READ, waker)

    def _listen(self, vm: str, side: Side, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for path, read_only in ((folder / f"{name}.sock", False), (folder / f"{name}.ro.sock", True)):
            path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.bind(str(path))
            listener.listen(64)
            self._listeners[vm].append(listener)
            self._selector.register(listener, selectors.EVENT_READ, (side, read_only))

    def serve(self) -> None:
        """Serve until an exception, such as that of a signal handler, ends it."""
        while True:
            self.serve_once(None)

    def serve_once(self, seconds: float | None) -> None:
        """Wait *seconds* at most for something to do, and do it."""
        # The real one keeps its clients in a list, the youngest first.
        for key, what in sorted(self._selector.select(seconds), key=_age):
            if isinstance(key.data, socket.socket):
                key.data.recv(100)
                self.restart_dom0()
            elif not isinstance(key.data, Peer):
                self._accept(key.fileobj, *key.data)
            elif key.data in self._peers and what & selectors.EVENT_READ and not key.data.ending:
                self._serve_peer(key.data)
        for peer in list(self._peers):
            if (peer.output or peer.ending) and not peer.side.ended:
                self._send(peer)
        for vm, sides in self.pairs.items():
            for side in sides:
                side.room = VCHAN_REPLIES  # by now each has read what the other one replied
                if side.ended:
                    self._bury(vm, side)

    def _bury(self, vm: str, side: Side) -> None:
        """Do what the kernel does when a daemon has ended: its sockets stay behind, and nobody listens."""
        for peer in [peer for peer in self._peers if peer.side is side]:
            self._hang_up(peer)
        for listener in list(self._listeners[vm]):
            if self._selector.get_key(listener).data[0] is side:
                self._selector.unregister(listener)
                self._listeners[vm].remove(listener)
                listener.close()

    def close(self) -> None:
        """End all connections and remove the sockets."""
        for peer in list(self._peers):
            self._hang_up(peer)
        for listener in (one for each in self._listeners.values() for one in each):
            with contextlib.suppress(OSError):
                Path(listener.getsockname()).unlink()
            listener.close()
        self._selector.close()

    def _accept(self, listener: object, side: Side, read_only: bool) -> None:
        assert isinstance(listener, socket.socket)
        try:
            stream, _address = listener.accept()
        except OSError:  # it is gone again, or this process has no descriptor left for it
            return
        if len(side.clients) >= CLIENTS_MAX:
            stream.close()
            return
        peer = Peer(stream, side, read_only)
        stream.setblocking(False)
        self._peers.add(peer)
        side.clients.add(peer.client)
        self._selector.register(stream, selectors.EVENT_READ, peer)

    def _serve_peer(self, peer: Peer) -> None:
        self._receive(peer)
        while self._reply(peer) and peer.protocol.in_message:
            peer.stream.setblocking(True)
            self._receive(peer)
            peer.stream.setblocking(False)

    def _receive(self, peer: Peer) -> None:
        try:
            data = peer.stream.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        peer.protocol.receive_data(data)

    def _reply(self, peer: Peer) -> bool:
        """Answer all whole requests; say whether more of them may come."""
        while True:
            try:
                event = peer.protocol.next_event()
            except RemoteProtocolError:
                self._send(peer)
                self._hang_up(peer)
                return False
            if event is NEED_DATA:
                return True
            if not isinstance(event, Request | BadRequest):
                # The real daemon writes at once, so before it sees that the client is gone.
                self._send(peer)
                self._hang_up(peer)
                return False
            peer.side.handle(peer.client, event)
            if peer.side.ended:
                return False
            if isinstance(event, BadRequest) and event.closes and not peer.client.read_only:
                peer.ending = True
                return False

    def _send(self, peer: Peer) -> None:
        if peer.waiting > OUTPUT_MAX:
            self._hang_up(peer)
            return
        while peer.output:
            chunk = bytearray(peer.output.popleft())
            while peer.output and len(chunk) + len(peer.output[0]) <= CHUNK:
                chunk += peer.output.popleft()
            try:
                sent = peer.stream.send(chunk)
            except BlockingIOError:
                sent = 0
            except BrokenPipeError:
                if peer.side.sigpipe_ends:
                    peer.side.end("SIGPIPE")
                self._hang_up(peer)
                return
            except OSError:
                self._hang_up(peer)
                return
            peer.waiting -= sent
            if sent < len(chunk):
                peer.output.appendleft(bytes(chunk[sent:]))
                self._selector.modify(peer.stream, selectors.EVENT_READ | selectors.EVENT_WRITE, peer)
                return
        self._selector.modify(peer.stream, selectors.EVENT_READ, peer)
        if peer.ending:
            self._hang_up(peer)

    def _hang_up(self, peer: Peer) -> None:
        if peer in self._peers:
            self._peers.discard(peer)
            peer.side.clients.discard(peer.client)
            self._selector.unregister(peer.stream)
            peer.stream.close()
