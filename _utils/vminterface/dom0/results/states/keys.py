"""States about bare keys of the XenStore and of QubesDB.

A VM that is not running is an error only with *require_running*. In *test* nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vminterface.channel import update
from vminterface.channel.store import KeyStore
from vminterface.channel.update import Desired
from vminterface.dom0.results import inwords, returns
from vminterface.dom0.results.barekeys import BareKeys
from vminterface.errors import InvalidValue, VMInterfaceError, VMNotRunning, VMStarting, printable_value

State = dict[str, Any]


def present(channel: str, name: Any, value: Any, vm: Any, *, require_running: bool, test: bool) -> State:
    """Let a key have *value*, text or a whole number."""
    return _brought(channel, name, vm, require_running, test, lambda store, path: {path: update.value_bytes(value)})


def absent(channel: str, name: Any, vm: Any, *, require_running: bool, test: bool) -> State:
    """Let there be no such key, and none below it."""
    return _brought(channel, name, vm, require_running, test, lambda store, path: {path: None})


def tree(channel: str, name: Any, keys: Any, vm: Any, *, prune: Any, require_running: bool, test: bool) -> State:
    """Let the keys below *name* have the values of *keys*, see :func:`update.tree`."""
    return _brought(channel, name, vm, require_running, test, partial(update.tree, keys=keys, prune=prune))


def _brought(
    channel: str, name: Any, vm: Any, require_running: bool, test: bool, desired: Callable[[KeyStore, str], Desired]
) -> State:
    """Bring keys to the values that *desired* says of the store and the full path of *name*."""
    name = str(name)
    of = f"{vm}: {name}" if vm else name
    try:
        if not isinstance(vm, str | None):
            raise InvalidValue(f"{printable_value(vm, quoted=True)} is not a VM's name (expected text)", "vm")
        try:
            opened = BareKeys(channel, vm).__enter__()
        except VMNotRunning as error:
            if require_running or isinstance(error, VMStarting):
                raise
            return returns.state(name, {}, f"{vm} is not running: {name} was not changed", test=test)
        with opened:
            path = opened.path(name)
            if test:
                found = update.compare(opened.store, desired(opened.store, path))
            else:
                # The entries of a tree are read from the store too.
                found = opened.change([path], lambda: opened.bring(desired(opened.store, path)))
            changes = {opened.shown(path): change for path, change in inwords.key_changes(found).items()}
    except VMInterfaceError as error:
        return returns.failure(name, error)
    comment = f"{of} is already set"
    if changes:
        comment = f"{of} would be changed" if test else f"{of} has been changed"
    return returns.state(name, changes, comment, test=test)
