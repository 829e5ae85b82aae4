"""What all simulated daemons have in common: requests that take time, and daemons that die, hang and go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from tests.simulation.scheduler import APART, TIMED_OUT, Process, World
from tests.simulation.trace import Late, Trace
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, DeadlineExceeded, VMInterfaceError

T = TypeVar("T")
#: One step of the daemon on behalf of a client: what it returns, or the error that it raises, is the reply. What often
#: is an error is returned: raised, it keeps all that called it.
Step = Callable[[], Any]


def do_step(step: Step) -> Any:
    """Do *step*."""
    return step()


class Daemon:
    """A program that serves one request after the other, in the order in which they come."""

    def __init__(self, world: World, name: str, trace: Trace) -> None:
        self.world = world
        self.trace = trace
        self.name = name
        self.process = world.process(name)
        self.up = True
        #: Another number after each end of it: what was asked of the former one is not done.
        self.epoch = 0
        self.clients: list[Connection] = []
        self._waiting: list[Callable[[], None]] = []
        self._hangs = False

    def hang(self) -> None:
        """Serve nobody until :meth:`go_on`; connections stay."""
        self._hangs = True
        self.world.note(self.name, "hangs")

    def go_on(self) -> None:
        """Serve what has come meanwhile, and whoever comes."""
        if self._hangs:
            self._hangs = False
            self.world.note(self.name, "goes on")
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                one()

    def die(self) -> None:
        """End, with all connections."""
        self.up = self._hangs = False
        self.epoch += 1
        self.world.note(self.name, "dies")
        self._waiting.clear()
        for client in list(self.clients):
            client.lose("the daemon closed the connection")

    def start(self) -> None:
        """Begin to serve again."""
        if not self.up:
            self.up = True
            self.world.note(self.name, "starts")

    def serve(self, step: Callable[[], None]) -> None:
        """Do *step* as soon as the daemon can."""
        if self._hangs:
            self._waiting.append(step)
        elif self.up:
            step()


class Connection:
    """One connection of a process to a daemon: a fault in the middle of an exchange ends it for good."""

    def __init__(self, daemon: Daemon, process: Process, path: str) -> None:
        if not daemon.up:
            lost = ConnectionLost(f"{path}: Connection refused")
            raise lost from ConnectionRefusedError()
        self.daemon, self.process, self.path = daemon, process, path
        self.world = daemon.world
        self.closed_because = ""
        #: Whether the daemon has ended it, and with it what it has not done yet.
        self._lost = False
        self._busy: Callable[[Any], None] | None = None
        #: Called once when it ends.
        self.at_end: list[Callable[[], None]] = []
        #: When the last message from the daemon arrives: messages keep their order.
        self._last = 0.0
        daemon.clients.append(self)
        process.at_end.append(self.close)

    def close(self, because: str = "it was closed") -> None:
        """End it."""
        if not self.closed_because:
            self.closed_because = because
            self.daemon.clients.remove(self)
            self.process.at_end.remove(self.close)
            for end in self.at_end:
                end()

    def lose(self, because: str) -> None:
        """End it from the daemon's side: whoever waits for a reply is told so."""
        busy, self._lost = self._busy, True
        self.close(because)
        if busy is not None:
            busy(ConnectionLost(f"{self.path}: {because}"))

    def push(self, deliver: Callable[[], None], slow: float = 0.0) -> None:
        """Let the daemon send something on its own account, after what it has sent before."""
        sender = self.daemon.process
        self._last = max(self._last + APART, self.world.now + sender.delay() + slow)
        if slow:
            self.daemon.trace.facts.append(Late(self.world.now, self._last, self.process.name))
        self.world.at(self._last, lambda: None if self.closed_because else deliver(), sender.random)

    def ask(self, requests: Sequence[Any], deadline: Deadline, serve: Callable[[Any], Any] = do_step) -> list[Any]:
        """Let the daemon *serve* each of *requests*, others' perhaps between them, and return the replies, or errors.

        Raises ConnectionLost, DeadlineExceeded, after which it is of no more use.
        """
        if self.closed_because:
            raise ConnectionLost(f"{self.path}: the connection is closed: {self.closed_because}")
        deadline.check(self.path)
        replies: list[Any] = []
        self._busy = self.world.waker()
        self._send(requests, serve, replies, self._busy)
        outcome = self.world.wait(deadline.expires)
        self._busy = None
        if outcome is TIMED_OUT:
            self.close("a request got no reply in time")
            raise DeadlineExceeded(f"{self.path}: no reply within {deadline.seconds:g} s ({len(replies)} came)")
        if isinstance(outcome, VMInterfaceError):
            raise outcome
        return replies

    def _send(
        self, requests: Sequence[Any], serve: Callable[[Any], Any], replies: list[Any], wake: Callable[[Any], None]
    ) -> None:
        """Send *requests* in parts, between which the daemon may serve others."""
        world, process, random, daemon = self.world, self.process, self.process.random, self.daemon
        count = len(requests)
        cut = random.randrange(1, count) if count > 1 and random.random() < 0.3 else count
        # What is in the daemon's hands when we are gone may be done all the same, or not.
        orphaned, epoch = random.random() < 0.5, daemon.epoch

        def do(some: Sequence[Any], last: bool) -> None:
            if daemon.epoch != epoch or self._lost or (self.closed_because and not orphaned):
                return
            for one in some:
                try:
                    replies.append(serve(one))
                except VMInterfaceError as error:
                    replies.append(error)
            if last:
                self._last = max(self._last + APART, world.now + process.delay())
                world.at(self._last, partial(wake, None), random)

        arrival = world.now + process.delay()
        world.at(arrival, partial(daemon.serve, partial(do, requests[:cut], cut == count)), random)
        if cut < count:
            world.at(arrival + process.delay(), partial(daemon.serve, partial(do, requests[cut:], True)), random)
