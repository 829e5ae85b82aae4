"""States about bare keys of the XenStore and of QubesDB.

The keys of a VM that is not running are no error, unless *require_running* says so. In *test* nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vminterface.channel import update
from vminterface.channel.store import KeyStore
from vminterface.channel.update import Wanted
from vminterface.dom0 import returns
from vminterface.dom0.barekeys import BareKeys
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
    channel: str, name: Any, vm: Any, require_running: bool, test: bool, wanted: Callable[[KeyStore, str], Wanted]
) -> State:
    """Bring keys to the values that *wanted* says of the store and the full path of *name*."""
    name = str(name)
    of = f"{vm}: {name}" if vm else name
    try:
        if not isinstance(vm, str | None):
            raise InvalidValue(f"expected a VM's name, found {printable_value(vm, quoted=True)}", "vm")
        try:
            opened = BareKeys(channel, vm).__enter__()
        except VMNotRunning as error:
            if require_running or isinstance(error, VMStarting):
                raise
            return returns.state(name, {}, f"{vm} is not running: {name} was left alone", test=test)
        with opened:
            path = opened.path(name)
            if test:
                found = update.differences(opened.store, wanted(opened.store, path))
            else:
                # What a tree is to be made of is found in the store too.
                found = opened.change([path], lambda: update.update(opened.store, wanted(opened.store, path)))
            changes = {opened.shown(path): change for path, change in returns.key_changes(found).items()}
    except VMInterfaceError as error:
        return returns.failure(name, error)
    comment = f"{of} is already as it should be"
    if changes:
        comment = f"{of} would be changed" if test else f"{of} has been changed"
    return returns.state(name, changes, comment, test=test)
