"""One daemon of a pair: its keys, its clients' watches, and what it says to the other one."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.qubesdb.database import Database
from vminterface.wire.qubesdb import BadRequest, Command, Entry, ErrorReply, Event, Reply, Request, WatchEvent

#: Replies that the vchan between two daemons has room for: 72 bytes each of 4096, less what tells full from empty.
VCHAN_REPLIES = 56


@dataclass(eq=False, slots=True)
class Client:
    """One connection. *notify* takes what the daemon says to it."""

    notify: Callable[[Event], None]
    read_only: bool = False
    watches: Counter[str] = field(default_factory=Counter)


class Side:
    """The daemon in dom0, or the one in the VM; :meth:`join` makes a pair of two."""

    def __init__(self, *, sigpipe_ends: bool = False) -> None:
        self.database = Database()
        self.clients: set[Client] = set()
        self.other: Side | None = None
        #: Whether a client that has closed and is written to ends it: dom0's is started with SIGPIPE at its default.
        self.sigpipe_ends = sigpipe_ends
        #: Whether it has ended, as the real program does with status 1 or by a signal; its sockets stay and refuse.
        self.ended = False
        #: Replies to the other one for which there is room until that one reads again.
        self.room = VCHAN_REPLIES

    def join(self, dom0: Side) -> None:
        """Connect this VM's daemon to dom0's, whose keys it gets; each has its watches fire."""
        self.other, dom0.other = dom0, self
        for path in reversed(dom0.database.matching("")):
            self.database.values[path] = dom0.database.values[path]
            self._fire(path)

    def part(self) -> None:
        """End the connection to the other daemon; both go on alone with the keys that they have."""
        if self.other is not None:
            self.other.other = None
            self.other = None

    def handle(self, client: Client, request: Request | BadRequest) -> None:
        """Answer *request*; then tell everybody who watches, on both sides."""
        if isinstance(request, BadRequest):
            client.notify(ErrorReply(request.path))
            return
        command, path = request.command, request.path
        match command:
            case Command.READ:
                value = self.database.values.get(path)
                client.notify(ErrorReply(path, True) if value is None else Reply(command, path, value))
            case Command.LIST | Command.MULTIREAD:
                self._series(client, command, path)
            case Command.WRITE | Command.RM:
                self._change(client, request)
            case Command.WATCH:
                client.watches[path] += 1
                client.notify(Reply(command, path))
            case Command.UNWATCH:
                client.notify(Reply(command, path) if client.watches[path] else ErrorReply(path, True))
                client.watches[path] -= 1
                client.watches = +client.watches

    def _series(self, client: Client, command: Command, path: str) -> None:
        values = self.database.values
        # As the vchan's side is given them.
        paths = reversed(self.database.matching("")) if command is Command.MULTIREAD and not path else None
        for one in paths or self.database.matching(path):
            client.notify(Entry(command, one, values[one] if command is Command.MULTIREAD else b""))
        client.notify(Reply(command, path))

    def _change(self, client: Client, request: Request) -> None:
        if client.read_only:
            client.notify(ErrorReply(request.path))
        elif self.change(request):
            client.notify(Reply(request.command, request.path))
            self._fire(request.path)
            if self.other is not None:
                self.other.take_over(request)
        else:
            client.notify(ErrorReply(request.path, True))

    def change(self, request: Request) -> bool:
        """Write or remove; say whether there was anything to remove."""
        if request.command is Command.RM:
            return self.database.remove(request.path)
        self.database.values[request.path] = request.value
        return True

    def take_over(self, request: Request) -> None:
        """Do what the other daemon did, and reply; a removal that cannot be replied to, or finds nothing, is fatal."""
        if request.command is Command.RM and self.room == 0:
            self.end("got QDB_CMD_RM from remote domain, but there is no space in vchan for the response; dropping")
        elif self.change(request):
            self.room = max(0, self.room - 1)
            self._fire(request.path)
        else:
            # The answer that there is no such key is not among those that the other one takes.
            other = self.other
            self.end("FATAL: vchan data processing failed")
            if other is not None:
                other.end("FATAL: vchan data processing failed")

    def end(self, reason: str) -> None:
        """End for *reason*; the other one of the pair, if it lives, goes on alone."""
        print(f"qubesdb-daemon: {reason}", file=sys.stderr, flush=True)
        self.part()
        self.ended = True

    def _fire(self, path: str) -> None:
        for client in list(self.clients):
            for watched, times in list(client.watches.items()):
                if watched == path or (watched.endswith("/") and path.startswith(watched)):
                    for _ in range(times):
                        client.notify(WatchEvent(path))
