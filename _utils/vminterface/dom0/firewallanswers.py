"""Did a provider take the rules? Waits for its firewall service, for all of its clients together.

Having looked at the rules of an address the service counts ``/qubes-firewall-handled/ADDRESS`` up, whatever came of it
(Qubes core-agent-linux's ``qubesagent/firewall.py``). At its own start it looks at all rules there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from vminterface.channel.store import KeyStore
from vminterface.deadline import Deadline
from vminterface.dom0.answers import INTRODUCTION
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Target
from vminterface.errors import DeadlineExceeded, KeyNotFound, VMInterfaceError

FOLDER = "qubes-firewall-handled"


@dataclass(slots=True)
class Told:
    """A provider that is told of new rules for a client: what it has said before, and what came of it."""

    settings: VMSettings
    provider: Target
    #: What the service has counted so far, by path; None where it has not yet.
    counts: Mapping[str, bytes | None]
    #: Whether it has ever handled the rules of any address.
    known: bool
    error: VMInterfaceError | None = None
    note: str = ""

    @classmethod
    def about_to_be(cls, settings: VMSettings, provider: Target, addresses: Sequence[str]) -> Self:
        """Return how it is before *provider* is told of the rules for *addresses*. Raises as the store does."""
        try:
            said = provider.store.tree(provider.path(FOLDER))
        except KeyNotFound:
            said = {}
        paths = [provider.path(f"{FOLDER}/{address}") for address in addresses]
        return cls(settings, provider, {path: said.get(path) for path in paths}, bool(said))

    def handled(self, now: Mapping[str, bytes | None]) -> bool:
        """Whether the service has looked at the rules of all addresses since."""
        return all(now[path] not in (None, before) for path, before in self.counts.items())


def wait(told: Sequence[Told]) -> None:
    """Wait until the one provider of *told* has handled the rules of each, and note where it has not."""
    pending = [one for one in told if one.settings.confirm]
    for one in told:
        if not one.settings.confirm:
            one.note = f"the answer of {one.provider.vm} was not waited for"
    if not pending:
        return
    try:
        _wait(told[0].provider.store, pending)
    except VMInterfaceError as error:
        for one in pending:
            one.error = error


def _wait(store: KeyStore, pending: list[Told]) -> None:
    """Take from *pending* those of which it is known how they ended."""
    started = Deadline.after(0.0)
    with store.watch([path for one in pending for path in one.counts]) as watch:
        while pending:
            soonest = min((_deadline(one, started) for one in pending), key=lambda deadline: deadline.expires)
            with suppress(DeadlineExceeded):
                watch.next(soonest)
            paths = [path for one in pending for path in one.counts]
            now = dict(zip(paths, store.read_many(paths), strict=True))
            for one in list(pending):
                deadline = _deadline(one, started)
                if one.handled(now):
                    pending.remove(one)
                elif deadline.passed:
                    pending.remove(one)
                    _late(one, deadline.seconds)


def _deadline(one: Told, started: Deadline) -> Deadline:
    """Return until when an answer can come; a service that has never said anything has less time to begin."""
    seconds = one.settings.timeout * (1.0 if one.known else INTRODUCTION)
    return Deadline(started.expires + seconds, seconds)


def _late(one: Told, seconds: float) -> None:
    netvm = one.provider.vm
    if one.known:
        one.error = DeadlineExceeded(
            f"{one.settings.vm}: the firewall service of {netvm} did not handle its rules within {seconds:g} s; "
            "former values restored"
        )
    else:
        one.note = f"no firewall service is in work in {netvm}, so the rules take effect when one starts there"
