"""Lets qubesd write the VMs' real key stores: one connection for each write, as these come and go with their VMs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from vminterface.channel.store import KeyStore, Remove
from vminterface.errors import KeyNotFound


class StoreWriter:
    """Fits where the daemon takes *live*; *open_store* opens a VM's store, whose paths start with *base*."""

    def __init__(self, open_store: Callable[[str], KeyStore], base: Callable[[str], str] = lambda vm: "/") -> None:
        self._open = open_store
        self._base = base

    def __call__(self, vm: str, key: str, value: str | None) -> None:
        path = self._base(vm) + key
        with self._open(vm) as store, suppress(KeyNotFound):
            if value is not None:
                store.write(path, value.encode())
            elif store.channel == "qubesdb" or not path.endswith("/"):
                # One request, also for all below a folder, as providers watch some.
                store.remove(path)
            else:
                below = [one for one in store.tree(path[:-1]) if one.startswith(path)]
                store.batch([Remove(one) for one in sorted(below, reverse=True)])
