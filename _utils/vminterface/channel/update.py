"""Bring some keys of a store to some values: what differs is found in one batch and written in one transaction.

Where the store has no transactions, a fault on the way puts the former values back, but for keys that somebody else
has written meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vminterface.channel.store import KeyStore, Remove, Write
from vminterface.errors import InvalidValue, InvalidValues, KeyNotFound, VerificationFailed, VMInterfaceError, printable
from vminterface.wire.qubesdb import VALUE_MAX
from vminterface.wire.xenstore import PAYLOAD_MAX

#: Values by path; None where the key shall not exist.
Wanted = Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """The value of one key before and after; None where the key does not exist."""

    old: bytes | None
    new: bytes | None


def value_bytes(value: Any) -> bytes:
    """Return a key's value as YAML or a command line gives it: text, or a whole number. Raises InvalidValue."""
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise InvalidValue(f"'{printable(value, 60)}' is no UTF-8 text") from None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode()
    raise InvalidValue(f"expected text or a whole number, found {printable(repr(value), 60)} (quote it)")


def path_text(path: Any) -> str:
    """Return *path* if it is text, which is all that YAML has to be asked here. Raises InvalidValue."""
    if isinstance(path, str):
        return path
    raise InvalidValue(f"expected a path, found {printable(repr(path), 60)}")


def differences(store: KeyStore, wanted: Wanted) -> dict[str, Difference]:
    """Return the keys of *wanted* that do not hold what they should.

    Raises InvalidValue for a value that is too long, VerificationFailed when *wanted* contradicts itself (a key below
    one that shall not exist). Either is told here and not only when it is written, so that asking what would change is
    honest.
    """
    for path, value in wanted.items():
        _check_value(store, path, value)
        if value is not None:
            _check_kept(path, wanted)
    if store.channel == "qubesdb":
        wanted = _with_keys_below(store, wanted)
    found = store.read_many(list(wanted))
    return {
        path: Difference(old, new)
        for (path, new), old in zip(wanted.items(), found, strict=True)
        if old != new
    }  # fmt: skip


def _check_value(store: KeyStore, path: str, value: bytes | None) -> None:
    if value is None:
        return
    most = PAYLOAD_MAX - 1 - len(path) if store.channel == "xenstore" else VALUE_MAX
    if len(value) > most:
        raise InvalidValue(f"expected at most {most} bytes, found {len(value)}", path)
    if store.channel == "qubesdb" and b"\0" in value:
        raise InvalidValue("expected no NUL byte, which QubesDB cannot hold", path)


def _check_kept(path: str, wanted: Wanted) -> None:
    for at in range(1, len(path)):
        if path[at] == "/" and wanted.get(path[:at], b"") is None:
            raise VerificationFailed(f"{path[:at]} is to be removed and {path}, which is below it, to be kept")


def _with_keys_below(store: KeyStore, wanted: Wanted) -> dict[str, bytes | None]:
    """Return *wanted* with every key that goes with one that shall not exist: it needs no parent to be there."""
    whole = dict(wanted)
    for path, value in wanted.items():
        if value is None:
            whole.update(dict.fromkeys(_existing(store, path)))
    return whole


def update(store: KeyStore, wanted: Wanted) -> dict[str, Difference]:
    """Give every key of *wanted* its value, all at once or none where the store has transactions.

    Returns what differed. Raises what the store refuses, else as :func:`differences`.
    """
    changes = differences(store, wanted)
    if not changes:
        return {}

    def work(view: KeyStore) -> dict[str, Difference]:
        # Others may have written since: what counts is what the transaction sees.
        now = differences(view, wanted)
        try:
            put(view, {path: change.new for path, change in now.items()})
            if left := differences(view, wanted):
                raise VerificationFailed(f"{next(iter(left))} does not hold what was written")
        except VMInterfaceError:
            if not view.has_transactions:
                # The first error is the one to tell.
                with suppress(VMInterfaceError):
                    _put_back(view, now)
            raise
        return now

    return store.transaction(work)


def _put_back(store: KeyStore, changes: Mapping[str, Difference]) -> None:
    held = store.read_many(list(changes))
    put(store, {path: change.old for (path, change), value in zip(changes.items(), held, strict=True)
                if value == change.new})  # fmt: skip


def put(store: KeyStore, values: Wanted) -> None:
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

    With *prune*, every other key below *path* is wanted gone. Raises InvalidValues.
    """
    if not isinstance(keys, Mapping):
        raise InvalidValue(f"expected a mapping of names to values, found {type(keys).__name__}", path)
    wanted: dict[str, bytes | None] = {}
    faults: list[InvalidValue] = []
    _flatten(path.rstrip("/"), keys, wanted, faults)
    if faults:
        raise InvalidValues(faults)
    if prune:
        kept = {path}
        for key, value in wanted.items():
            kept.update(key[:at] for at in range(len(key)) if key[at] == "/" and value is not None)
            kept.add(key)
        gone: set[str] = set()
        for key in sorted(_existing(store, path) - kept):
            # A key goes with everything below it, so those need no mention.
            if key.rpartition("/")[0] not in gone:
                wanted[key] = None
            gone.add(key)
    return wanted


def _existing(store: KeyStore, path: str) -> set[str]:
    try:
        return set(store.tree(path))
    except KeyNotFound:
        return set()


def _flatten(path: str, keys: Mapping[Any, Any], into: dict[str, bytes | None], faults: list[InvalidValue]) -> None:
    for name, value in keys.items():
        # Names are numbers where they stand for devices or domains.
        below = f"{path}/{name}"
        try:
            value_bytes(name)
            if isinstance(value, Mapping):
                _flatten(below, value, into, faults)
            else:
                into[below] = None if value is None else value_bytes(value)
        except InvalidValue as error:
            faults.append(InvalidValue(str(error), printable(below)))
