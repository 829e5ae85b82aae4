"""Bring keys of a store to given values: compared in one batch and written in one transaction.

Where the store has no transactions, a fault on the way puts the former values back, but for keys that somebody else
has written meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from vminterface.channel.store import KeyStore, Remove, Write
from vminterface.errors import (
    InvalidValue,
    InvalidValues,
    KeyNotFound,
    VerificationFailed,
    VMInterfaceError,
    digits,
    kind_of,
    printable,
    printable_value,
)
from vminterface.values.change import Change

#: Values by path; None where the key shall not exist.
Desired = Mapping[str, bytes | None]
#: By path; None where the key does not exist.
Changes = dict[str, Change[bytes]]


def value_bytes(value: Any) -> bytes:
    """Return a key's value as YAML or a command line gives it: text, or a whole number. Raises InvalidValue."""
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InvalidValue(f"'{printable(value, 60)}' is not UTF-8 text") from None
    if isinstance(value, int) and not isinstance(value, bool):
        return digits(value).encode()
    raise InvalidValue(f"{printable_value(value, 60)} is not valid (expected text or a whole number; quote it)")


def path_text(path: Any) -> str:
    """Return *path* if it is text, which is all that YAML has to be asked here. Raises InvalidValue."""
    if isinstance(path, str):
        return path
    raise InvalidValue(f"{printable_value(path, 60)} is not a path (expected text)")


def compare(store: KeyStore, desired: Desired) -> Changes:
    """Return the keys of *desired* that do not hold what they should.

    Raises InvalidValue for a value that is too long and for the end of the root, VerificationFailed when *desired*
    contradicts itself (a key below one that shall not exist). Either is raised here and not only when it is written, so
    that asking what would change is honest.
    """
    for path, value in desired.items():
        _check_value(store, path, value)
        if value is None and path == "/":
            raise InvalidValue("'/' cannot be removed: it is the root of the store")
        if value is not None:
            _check_consistent(path, desired)
    if not store.parents:
        desired = _with_keys_below(store, desired)
    found = store.read_many(list(desired))
    return {
        path: Change(old, new)
        for (path, new), old in zip(desired.items(), found, strict=True)
        if old != new
    }  # fmt: skip


def _check_value(store: KeyStore, path: str, value: bytes | None) -> None:
    if value is None:
        return
    if len(value) > (most := store.max_value(path)):
        raise InvalidValue(f"a value of {len(value)} bytes is too long (expected at most {most})", path)
    if not store.nul_bytes and b"\0" in value:
        raise InvalidValue("a value with a NUL byte is not valid (QubesDB cannot hold one)", path)


def _check_consistent(path: str, desired: Desired) -> None:
    for at in range(1, len(path)):
        if path[at] == "/" and desired.get(path[:at], b"") is None:
            raise VerificationFailed(f"{path[:at]} cannot be removed while {path} below it is to stay")


def _with_keys_below(store: KeyStore, desired: Desired) -> dict[str, bytes | None]:
    """Return *desired* with every key that goes with one that shall not exist: it needs no parent to be there."""
    whole = dict(desired)
    for path, value in desired.items():
        if value is None:
            whole.update(dict.fromkeys(_existing(store, path)))
    return whole


def update(store: KeyStore, desired: Desired, *, check: Callable[[KeyStore], None] = lambda view: None) -> Changes:
    """Give every key of *desired* its value, all at once or none where the store has transactions.

    *check* is called before anything is written, in the same transaction, and may raise what keeps it from that.
    Returns what differed. Raises what the store refuses, else as :func:`compare`.
    """
    changes = compare(store, desired)
    if not changes:
        return {}

    def work(view: KeyStore) -> Changes:
        check(view)
        # Others may have written since: what counts is what the transaction sees.
        now = compare(view, desired)
        try:
            put(view, {path: change.new for path, change in now.items()})
            if left := compare(view, desired):
                raise VerificationFailed(f"{next(iter(left))} does not hold what was written")
        except VMInterfaceError:
            if not view.transactions:
                # The first error is reported.
                with suppress(VMInterfaceError):
                    _put_back(view, now)
            raise
        return now

    return store.transaction(work)


def _put_back(store: KeyStore, changes: Mapping[str, Change[bytes]]) -> None:
    held = store.read_many(list(changes))
    put(store, {path: change.old for (path, change), value in zip(changes.items(), held, strict=True)
                if value == change.new})  # fmt: skip


def put(store: KeyStore, values: Desired) -> None:
    """Remove and write *values*, pipelined, removals first. Raises the first refusal."""
    operations: list[Write | Remove] = [Remove(path) for path, value in values.items() if value is None]
    operations += [Write(path, value) for path, value in values.items() if value is not None]
    for operation, outcome in zip(operations, store.batch(operations), strict=True):
        if isinstance(outcome, KeyNotFound) and isinstance(operation, Remove):
            continue
        if isinstance(outcome, VMInterfaceError):
            raise outcome


def tree(store: KeyStore, path: str, keys: Any, *, prune: bool = False) -> dict[str, bytes | None]:
    """Return the values by full path that the nested mapping *keys* wants below *path*.

    With *prune*, every other key below *path* is removed. Raises InvalidValues.
    """
    if not isinstance(keys, Mapping):
        raise InvalidValue(f"is of type {kind_of(keys)} (expected a mapping of names to values)", path)
    desired: dict[str, bytes | None] = {}
    errors: list[InvalidValue] = []
    _flatten(path.rstrip("/"), keys, desired, errors)
    if errors:
        raise InvalidValues(errors)
    if prune:
        remaining = {path}
        for key, value in desired.items():
            remaining.update(key[:at] for at in range(len(key)) if key[at] == "/" and value is not None)
            remaining.add(key)
        gone: set[str] = set()
        for key in sorted(_existing(store, path) - remaining):
            # A key goes with everything below it, so those need no mention.
            if key.rpartition("/")[0] not in gone:
                desired[key] = None
            gone.add(key)
    return desired


def _existing(store: KeyStore, path: str) -> set[str]:
    try:
        return set(store.tree(path))
    except KeyNotFound:
        return set()


def _flatten(path: str, keys: Mapping[Any, Any], into: dict[str, bytes | None], errors: list[InvalidValue]) -> None:
    for name, value in keys.items():
        # Names are numbers where they stand for devices or domains.
        below = f"{path}/{printable_value(name)}"
        try:
            below = f"{path}/{value_bytes(name).decode()}"
            if isinstance(value, Mapping):
                _flatten(below, value, into, errors)
            else:
                into[below] = None if value is None else value_bytes(value)
        except InvalidValue as error:
            errors.append(InvalidValue(str(error), printable(below)))
