"""What the store keeps of one client: whose it is, its watches and transactions, and the events it waits for."""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.xenstored.domains import Domain
from lab.xenstored.transaction import Transaction
from lab.xenstored.watches import Watches


@dataclass(slots=True)
class Ticket:
    """A guest's request, outstanding until it is answered and all watch events that it caused are delivered."""

    domain: Domain
    holds: int = 1

    def __post_init__(self) -> None:
        self.domain.outstanding += 1

    def hold(self) -> None:
        """One more delivery to wait for."""
        self.holds += 1

    def release(self) -> None:
        """One less; the last one gives the place back."""
        self.holds -= 1
        if self.holds == 0:
            self.domain.outstanding -= 1


@dataclass(eq=False, slots=True)
class Client:
    """One connection. ``domain`` is None for a socket in dom0, which no quota limits."""

    domain: Domain | None = None
    watches: Watches = field(default_factory=Watches)
    transactions: dict[int, Transaction] = field(default_factory=dict)
    next_transaction: int = 1
    #: Events not yet sent, by (path, token): equal ones are merged while they wait. The value is what to release then.
    pending: dict[tuple[str, str], Ticket | None] = field(default_factory=dict)

    @property
    def domid(self) -> int:
        """Whose connection it is."""
        return self.domain.domid if self.domain else 0

    @property
    def unprivileged(self) -> bool:
        """Whether permissions and quotas limit it."""
        return self.domid != 0

    @property
    def identities(self) -> tuple[int, ...]:
        """The domids whose permissions it has."""
        if self.domain is None or self.domain.target is None:
            return (self.domid,)
        return (self.domid, self.domain.target)

    @property
    def home(self) -> str:
        """What relative paths are relative to."""
        return f"/local/domain/{self.domid}"

    def absolute(self, path: str) -> str:
        """Return *path* from the root on; special ones stay as they are."""
        return path if path[0] in "/@" else f"{self.home}/{path}"

    def notify(self, path: str, token: str, cause: Ticket | None) -> None:
        """Queue one event, unless an equal one waits already."""
        if (path, token) not in self.pending:
            if cause:
                cause.hold()
            self.pending[path, token] = cause

    def take_event(self) -> tuple[str, str] | None:
        """Return the oldest queued event, as delivered; None if there is none."""
        if not self.pending:
            return None
        event = next(iter(self.pending))
        ticket = self.pending.pop(event)
        if ticket:
            ticket.release()
        return event

    def reset(self) -> None:
        """Drop watches and transactions."""
        if self.domain:
            self.domain.watches -= len(self.watches)
            self.domain.transactions -= len(self.transactions)
        self.watches.clear()
        self.transactions.clear()
