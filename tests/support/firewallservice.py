"""Stands for ``qubes-firewall`` of Qubes' core-agent-linux in a provider, which Debian has no package of.

It watches ``/qubes-firewall/`` in the provider's QubesDB and counts ``/qubes-firewall-handled/ADDRESS`` up when an
address's own key changes, as the real one does once its rules are in nftables; it sets no rules in any machine.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from vminterface.channel.qubesdb.store import QubesDB
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded


class FirewallService:
    """Handles what a provider, met in *store* as it meets it itself, is told of.

    While it is not *at_work* it stays where the real one takes time: between its look at the rules and its count.
    """

    def __init__(self, store: QubesDB) -> None:
        self.at_work = threading.Event()
        self.at_work.set()
        #: The addresses whose rules were looked at; those that were counted, with the rules that were found.
        self.seen: list[str] = []
        self.handled: list[tuple[str, dict[str, bytes]]] = []
        self._store = store
        # The real one passes over a path of more than two slashes, so over the event of a folder that was removed too.
        on_event = store._connection._on_event
        store._connection._on_event = lambda event: None if event.path.endswith("/") else on_event(event)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._watch = self._store.watch(["/qubes-firewall"])
        self._watch.next(Deadline.after(5.0))
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(5)
        self._store.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                events = self._watch.next(Deadline.after(0.05))
            except DeadlineExceeded:
                continue
            for event in events:
                if event.path.count("/") == 2:
                    self._handle(event.path)

    def _handle(self, path: str) -> None:
        address = path.rpartition("/")[2]
        found = self._store.tree("/")
        self.seen.append(address)
        while not self.at_work.wait(0.05):
            if self._ending.is_set():
                return
        self.handled.append((address, {key: value for key, value in found.items() if key.startswith(f"{path}/")}))
        counter = f"/qubes-firewall-handled/{address}"
        self._store.write(counter, str(int(found.get(counter, b"0")) + 1).encode())
