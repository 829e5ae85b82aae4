"""A guest's kernel, as far as the XenStore goes: many clients on one shared ring, like Linux' ``drivers/xen/xenbus``.

The ring is the real one (``xen/include/public/io/xs_wire.h``, struct xenstore_domain_interface), shared with the
real xenstored. Clients come through a Unix socket or through a raw terminal, which can be opened like
``/dev/xen/xenbus``. Request ids and watch tokens are made unique on the way in and restored on the way out.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import selectors
import socket
import struct
import threading
import tty
from dataclasses import dataclass, field
from pathlib import Path

from vminterface.wire.xenstore import HEADER, Op

RING = 1024
RESPONSES = 1024
#: Offsets in words.
REQUEST_CONSUMER, REQUEST_PRODUCER, RESPONSE_CONSUMER, RESPONSE_PRODUCER = 512, 513, 514, 515
CHUNK = 65536


class Ring:
    """The guest's end of the page that it shares with xenstored."""

    def __init__(self, root: Path, domid: int) -> None:
        with open(root / f"dom{domid}" / "ring", "r+b") as page:
            self._page = mmap.mmap(page.fileno(), 4096)
        # Native words are loaded and stored whole. With struct's "<I" it is byte by byte, and a daemon that reads an
        # index in between finds the ring broken and ignores the guest ever after.
        self._words = memoryview(self._page).cast("I")
        self.events = os.open(root / f"dom{domid}" / "evtchn", os.O_RDWR | os.O_NONBLOCK)
        self._daemon = os.open(root / "evtchn", os.O_WRONLY)
        self._port = struct.pack("<I", domid + 2)

    def _advance(self, at: int, value: int) -> None:
        self._words[at] = value & 0xFFFFFFFF
        with contextlib.suppress(BrokenPipeError):  # the daemon has ended: nobody is to be woken
            os.write(self._daemon, self._port)

    def put(self, data: bytes) -> int:
        """Write what there is room for; return how much that was."""
        produced = self._words[REQUEST_PRODUCER]
        room = RING - ((produced - self._words[REQUEST_CONSUMER]) & 0xFFFFFFFF)
        data = data[:room]
        if data:
            start = produced % RING
            first = data[: RING - start]
            self._page[start : start + len(first)] = first
            self._page[: len(data) - len(first)] = data[len(first) :]
            self._advance(REQUEST_PRODUCER, produced + len(data))
        return len(data)

    def take(self) -> bytes:
        """Return all that xenstored has written."""
        consumed = self._words[RESPONSE_CONSUMER]
        size = (self._words[RESPONSE_PRODUCER] - consumed) & 0xFFFFFFFF
        if not size:
            return b""
        start = RESPONSES + consumed % RING
        first = min(size, RESPONSES + RING - start)
        data = self._page[start : start + first] + self._page[RESPONSES : RESPONSES + size - first]
        self._advance(RESPONSE_CONSUMER, consumed + size)
        return data

    def close(self) -> None:
        self._words.release()
        self._page.close()
        os.close(self.events)
        os.close(self._daemon)


@dataclass(eq=False)
class Client:
    """One open file of the bus."""

    fd: int
    incoming: bytes = b""
    outgoing: bytes = b""
    transactions: set[int] = field(default_factory=set)


class Guest:
    """Domain *domid* of the machine *root*: its bus, served by a thread until :meth:`close`."""

    def __init__(self, root: Path, domid: int) -> None:
        self.socket_path = str(root / f"dom{domid}" / "socket")
        self._ring = Ring(root, domid)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.socket_path)
        self._listener.listen(64)
        terminal, self._other_end = os.openpty()
        tty.setraw(self._other_end)
        self.device_path = os.ttyname(self._other_end)
        self._woken, self._wake = os.pipe()
        self._ids = itertools.cycle(range(1, 1 << 32))
        self._asked: dict[int, tuple[Client | None, int, int]] = {}
        self._watches: dict[bytes, tuple[Client, bytes, bytes]] = {}
        self._to_ring = b""
        self._from_ring = b""
        self._selector = selectors.DefaultSelector()
        for waited in (self._woken, self._listener, self._ring.events):
            self._selector.register(waited, selectors.EVENT_READ)
        self._add(terminal)
        self._thread = threading.Thread(target=self._serve, name=f"dom{domid}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the guest's kernel and every connection to it."""
        os.write(self._wake, b"x")
        self._thread.join(10)
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                os.close(key.data.fd)
        self._selector.close()
        self._listener.close()
        self._ring.close()
        for fd in (self._woken, self._wake, self._other_end):
            os.close(fd)

    def _add(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._selector.register(fd, selectors.EVENT_READ, Client(fd))

    def _serve(self) -> None:
        while True:
            for key, what in self._selector.select():
                if key.fd == self._woken:
                    return
                if key.fileobj is self._listener:
                    self._add(self._listener.accept()[0].detach())
                elif key.fd == self._ring.events:
                    os.read(self._ring.events, CHUNK)
                elif what & selectors.EVENT_WRITE:
                    self._flush(key.data)
                else:
                    self._read(key.data)
            self._turn()

    def _read(self, client: Client) -> None:
        try:
            data = os.read(client.fd, CHUNK)
        except OSError:
            data = b""
        if not data:
            self._forget(client)
            return
        messages, client.incoming = _split(client.incoming + data)
        for kind, request_id, transaction, payload in messages:
            if kind in (Op.WATCH, Op.UNWATCH) and payload.count(b"\0") == 2:
                payload = self._own_token(client, kind, payload)
            if kind == Op.TRANSACTION_END:
                client.transactions.discard(transaction)
            self._ask(client, kind, request_id, transaction, payload)

    def _own_token(self, client: Client, kind: int, payload: bytes) -> bytes:
        path, token, _ = payload.split(b"\0")
        known = next((own for own, watch in self._watches.items() if watch == (client, path, token)), None)
        own = known or b"%X" % next(self._ids)
        if kind == Op.WATCH:
            self._watches[own] = (client, path, token)
        else:
            self._watches.pop(own, None)
        return path + b"\0" + own + b"\0"

    def _forget(self, client: Client) -> None:
        for own in [own for own, watch in self._watches.items() if watch[0] is client]:
            path = self._watches.pop(own)[1]
            self._ask(None, Op.UNWATCH, 0, 0, path + b"\0" + own + b"\0")
        for transaction in client.transactions:
            self._ask(None, Op.TRANSACTION_END, 0, transaction, b"F\0")
        for own_id, (asker, request_id, kind) in self._asked.items():
            if asker is client:
                self._asked[own_id] = (None, request_id, kind)
        self._selector.unregister(client.fd)
        os.close(client.fd)

    def _ask(self, client: Client | None, kind: int, request_id: int, transaction: int, payload: bytes) -> None:
        own_id = next(self._ids)
        self._asked[own_id] = (client, request_id, kind)
        self._to_ring += HEADER.pack(kind, own_id, transaction, len(payload)) + payload

    def _turn(self) -> None:
        self._to_ring = self._to_ring[self._ring.put(self._to_ring) :]
        messages, self._from_ring = _split(self._from_ring + self._ring.take())
        for kind, own_id, transaction, payload in messages:
            client: Client | None
            request_id = 0
            if kind == Op.WATCH_EVENT:
                path, own, _ = payload.split(b"\0")
                client, _, token = self._watches.get(own, (None, b"", b""))
                payload = path + b"\0" + token + b"\0"
            else:
                client, request_id, asked = self._asked.pop(own_id)
                if kind == asked == Op.TRANSACTION_START:
                    self._started(client, int(payload.rstrip(b"\0")))
            if client is not None:
                client.outgoing += HEADER.pack(kind, request_id, transaction, len(payload)) + payload
                self._flush(client)

    def _started(self, client: Client | None, transaction: int) -> None:
        if client is not None:
            client.transactions.add(transaction)
        else:  # its client went before the answer came
            self._ask(None, Op.TRANSACTION_END, 0, transaction, b"F\0")

    def _flush(self, client: Client) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                client.outgoing = client.outgoing[os.write(client.fd, client.outgoing) :]
            except (BrokenPipeError, ConnectionResetError):
                client.outgoing = b""
        desired = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outgoing else 0)
        self._selector.modify(client.fd, desired, client)


def _split(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bytes]:
    """Return the whole messages at the start of *data*, and the rest."""
    messages, at = [], 0
    while len(data) - at >= HEADER.size:
        kind, request_id, transaction, length = HEADER.unpack_from(data, at)
        end = at + HEADER.size + length
        if len(data) < end:
            break
        messages.append((kind, request_id, transaction, data[at + HEADER.size : end]))
        at = end
    return messages, data[at:]
