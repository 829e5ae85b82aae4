"""Did a provider take the rules? Waits for its firewall service, for many of its clients together.

Each time that it is notified of an address the service reads the rules, and counts ``/qubes-firewall-handled/ADDRESS``
up when it is done, whatever the result (Qubes core-agent-linux's ``qubesagent/firewall.py``). The first count may
belong to an earlier notification and its rules. So it is notified once more, and the second count is the
acknowledgement: what it counts then it has begun after the first, when the rules were there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from vminterface.channel.store import KeyStore
from vminterface.deadline import Deadline
from vminterface.dom0.push.firewall.client import Client
from vminterface.dom0.push.interrupt import NOTICED_WITHIN
from vminterface.errors import DeadlineExceeded, Interrupted, KeyNotFound, VMInterfaceError

FOLDER = "qubes-firewall-handled"


@dataclass(slots=True)
class Notified:
    """A client whose provider is notified of its rules, and the result."""

    client: Client
    #: The last counts that were seen, by path (None: there was none yet), of the addresses that are not handled yet.
    counts: dict[str, bytes | None]
    #: Whether the service has ever counted anything.
    known: bool
    #: Of which it was notified a second time.
    twice: set[str] = field(default_factory=set)
    #: The error of the provider's store.
    error: VMInterfaceError | None = None

    @classmethod
    def about_to_be(cls, client: Client) -> Self:
        """Return the state before the provider is notified of the written rules. Raises as the store does."""
        try:
            said = client.store.tree(client.path(FOLDER))
        except KeyNotFound:
            said = {}
        paths = [client.path(f"{FOLDER}/{rules.address}") for rules in client.rules]
        return cls(client, {path: said.get(path) for path in paths}, bool(said))

    def deadline(self, started: Deadline) -> Deadline:
        """Return until when the service has, if the wait began when *started* passed."""
        seconds = self.client.settings.timeout
        return Deadline(started.expires + seconds, seconds)

    def hear(self, now: Mapping[str, bytes | None]) -> None:
        """Take what the service counts *now*. Raises as the store does."""
        for path, before in list(self.counts.items()):
            if now[path] in (None, before):
                continue
            self.known = True
            if path in self.twice:
                del self.counts[path]
            else:
                self.counts[path] = now[path]
                self.twice.add(path)
                self.client.notify(path.rpartition("/")[2])


def wait(notified: Sequence[Notified], stop: threading.Event) -> None:
    """Wait until the one provider of *notified* has handled the rules of each, its time is over, or *stop* is set."""
    pending = list(notified)
    if not pending:
        return
    try:
        _wait(notified[0].client.store, pending, stop)
    except VMInterfaceError as error:
        for one in pending:
            one.error = error


def _wait(store: KeyStore, pending: list[Notified], stop: threading.Event) -> None:
    """Take from *pending* those of which it is known how they ended."""
    started = Deadline.after(0.0)
    with store.watch([path for one in pending for path in one.counts]) as watch:
        while pending:
            soonest = min((one.deadline(started) for one in pending), key=lambda deadline: deadline.expires)
            with suppress(DeadlineExceeded):
                watch.next(Deadline.after(min(soonest.remaining, NOTICED_WITHIN)))
            if stop.is_set():
                for one in pending:
                    vm, netvm = one.client.settings.vm, one.client.netvm
                    one.error = Interrupted(f"{vm}: interrupted before {netvm} handled its firewall")
                return
            paths = [path for one in pending for path in one.counts]
            now = dict(zip(paths, store.read_many(paths), strict=True))
            for one in list(pending):
                one.hear(now)
                if not one.counts or one.deadline(started).passed:
                    pending.remove(one)
