"""What connections to key stores have in common: a fault in the middle of an exchange closes them for good."""

from __future__ import annotations

import select
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from vminterface.channel.store import Readable
from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, VMInterfaceError


def poll_of(*readable: Readable) -> select.poll:
    """Return what waits until one of these can be read."""
    poll = select.poll()
    for one in readable:
        poll.register(one, select.POLLIN)
    return poll


def nobody(event: object) -> None:
    """Take a watch event of a connection that is closed, in place of its store's method.

    Otherwise store and connection refer to each other, and stay with all that they hold until Python's next collection.
    In a program that runs for days that leaves the memory in pieces.
    """


class Piece:
    """How many bytes a connection asks for at once: few, and many as long as more than few come.

    Python sets aside what is asked for, and gives back what did not come: an agent that hears a hundred bytes at a
    time and asks for 64 KiB each time has a heap that is ever more in pieces, and grows by kilobytes at each push.
    """

    __slots__ = ("size",)
    FEW, MANY = 4096, 65536

    def __init__(self) -> None:
        self.size = self.FEW

    def of(self, data: bytes) -> bytes:
        """Return *data*, which has come; the next size is that which its length asks for."""
        self.size = self.MANY if len(data) >= self.FEW else self.FEW
        return data


class StoreConnection(ABC):
    """A connection to the store at *path*."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._closed_because: str | None = None

    def _listen_to(self, source: Readable) -> None:
        """Let *source* be the socket or device that the daemon's bytes come from."""
        self._source = source
        self._readable = poll_of(source)
        self._both = select.poll()
        self._both.register(source, select.POLLIN | select.POLLOUT)

    @abstractmethod
    def _release(self) -> None:
        """Give the socket or device back; called once."""

    @abstractmethod
    def _hear(self) -> None:
        """Read what has come while nothing is asked for: watch events, each for its handler."""

    def receive(self, deadline: Deadline, others: Sequence[Readable] = ()) -> bool:
        """Wait for bytes and handle the watch events in them; the connection stays good when nothing comes.

        Return whether it was that, or the deadline, that ended the wait: not one of *others*, which is readable.
        """
        self._check_open()
        left = deadline.check(self.path)
        poll = self._readable if not others else poll_of(self._source, *others)
        ready = {descriptor for descriptor, _ in poll.poll(left * 1000)}
        if not ready:
            deadline.check(self.path)
            return True
        if self._source.fileno() not in ready:
            return False
        self._guarded(self._hear)
        return True

    @property
    def closed(self) -> bool:
        """Whether it is of no more use: closed here, or after a fault."""
        return self._closed_because is not None

    def close(self, because: str = "it was closed") -> None:
        """End the connection; every later call raises ConnectionLost with the reason given first."""
        if self._closed_because is None:
            self._closed_because = because
            self._release()

    def _check_open(self) -> None:
        if self._closed_because is not None:
            raise ConnectionLost(f"{self.path}: the connection is closed: {self._closed_because}")

    def _guarded(self, step: Callable[..., None], *arguments: object) -> None:
        """Do *step*; if it does not end well, close the connection."""
        try:
            step(*arguments)
        except VMInterfaceError as error:
            self.close(str(error))
            raise
        except OSError as error:
            self.close(error.strerror or str(error))
            raise ConnectionLost(f"{self.path}: {error.strerror or error}") from None
        except BaseException as error:
            # An interrupt leaves answers on their way.
            self.close(f"interrupted by {type(error).__name__}")
            raise
