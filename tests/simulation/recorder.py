"""Takes down a run of the lab as facts, so that what holds of simulated runs is checked of real ones too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.simulation.trace import Applied, Began, Ended, Fact, Started, Wrote
from vminterface import keys
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.errors import ConnectionLost, DeadlineExceeded

#: A key of the recorder's own: when its change has been heard, so has all that was written before.
MARK = "recorded"
#: Whose the writes to a VM's keys are; only one program of dom0 writes in a recorded run.
ADMIN = "admin"


class Recorder:
    """Watches the keys of *vm* in the XenStore that *open_store* opens, and takes down what pushes say."""

    def __init__(self, open_store: Callable[[], XenStore], vm: str, domid: int) -> None:
        self.facts: list[Fact] = [Started(time.monotonic(), vm)]
        self._open, self._vm, self._home = open_store, vm, f"/local/domain/{domid}"
        self._ending, self._ready = threading.Event(), threading.Event()
        self._marked = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join(10)

    def applied(self, setting: str, inputs: dict[str, str], began: float, *, accepted: bool = True) -> None:
        """Note that the agent has applied a setting, or has refused it."""
        self.facts.append(Applied(time.monotonic(), self._vm, setting, dict(inputs), accepted, began))

    def push(self, targets: Targets, settings: VMSettings) -> Outcome:
        """Push, and note what is asked and said."""
        began = time.monotonic()
        texts = {name: keys.text_of(name, value) for name, value in settings.desired.items()}
        self.facts.append(Began(began, ADMIN, "push", self._vm, texts))
        (one,) = push([settings], targets)
        # Facts have the time at which they were heard, so the push has ended when all that it wrote has been.
        self._hear_all()
        ended = time.monotonic()
        self.facts.append(
            Ended(
                ended, ADMIN, "push", self._vm, texts, began, one.ok, one.comment(), tuple(one.changes),
                one.restored, one.running, settings.confirm, settings.timeout,
            )
        )  # fmt: skip
        return one

    def _hear_all(self) -> None:
        """Wait until all that has been written by now is among the facts."""
        self._marked.clear()
        with self._open() as store:
            store.write(f"{self._home}/{MARK}", b"")
        assert self._marked.wait(20), "the XenStore tells no changes"

    def _run(self) -> None:
        held: dict[str, bytes] = {}
        try:
            with self._open() as store, store.watch([self._home]) as watch:
                self._ready.set()
                while not self._ending.is_set():
                    try:
                        events = watch.next(Deadline.after(0.1))
                    except DeadlineExceeded:
                        continue
                    paths = [event.path for event in events]
                    for path, value in zip(paths, store.read_many(paths), strict=True):
                        self._note(held, path[len(self._home) + 1 :], value)
        except ConnectionLost:
            return

    def _note(self, held: dict[str, bytes], key: str, value: bytes | None) -> None:
        if key == MARK:
            self._marked.set()
        elif key and held.get(key) != value:
            agent = key.startswith(f"{keys.ACKNOWLEDGEMENTS}/") and key != keys.PUSH and value != b"pending"
            who = f"agent of {self._vm}" if agent else ADMIN
            self.facts.append(Wrote(time.monotonic(), who, self._vm, key, held.get(key), value, len(self.facts)))
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
