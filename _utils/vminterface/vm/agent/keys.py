"""The keys of a VM's agent: those that it watches, their values, and its acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vminterface import keys
from vminterface.channel.store import KeyStore, List, Read
from vminterface.errors import KeyNotFound, PermissionDenied, VMInterfaceError

_PLAIN = [row for row in keys.TABLE if not row.family and (row.setting or row.field in ("type", "default_user"))]
#: Read once more after all others: a QubesDB has no transactions, and dom0 removes a flag while its group changes.
_FLAGS = [row for row in _PLAIN if row.field in keys.FLAGS.values()]
_FOLDERS = {row.name[:-2]: row for row in keys.TABLE if row.setting and row.family}

#: What dom0 writes for an agent, and where it gives it a place for its answers.
WATCHED = (*(row.name for row in _PLAIN), *_FOLDERS, keys.ACKNOWLEDGEMENTS)


def path_in(store: KeyStore, name: str) -> str:
    """Return the path of the VM's own key *name* in *store*."""
    return store.home + name


def read(store: KeyStore, own: Sequence[str]) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the texts of all keys that concern an agent, by field, and what *store* holds of its *own*, by name."""
    reads = [*((row, row.name) for row in _PLAIN), *((None, name) for name in own)]
    operations = [Read(path_in(store, name)) for _, name in reads] + [List(path_in(store, f)) for f in _FOLDERS]
    outcomes = store.batch(operations)
    members = [
        (row.member(member), f"{folder}/{member}")
        for (folder, row), listing in zip(_FOLDERS.items(), outcomes[len(reads) :], strict=True)
        for member in _found(listing, [])
    ]
    again = [] if store.transactions else _FLAGS
    more = store.batch(
        [Read(path_in(store, name)) for name in [*(name for _, name in members), *(r.name for r in again)]]
    )
    values = [*outcomes[: len(reads)], *more[: len(members)]]
    texts, acknowledgements = {}, {}
    for (row, name), outcome in zip([*reads, *members], values, strict=True):
        value = _found(outcome, None)
        if value is None:
            continue
        if row is None:
            acknowledgements[name] = value
        else:
            texts[row.field] = value.decode("utf-8", "surrogateescape")
    for flag, outcome in zip(again, more[len(members) :], strict=True):
        value = _found(outcome, None)
        if value is None or value.decode("utf-8", "surrogateescape") != texts.get(flag.field):
            # The group has changed meanwhile, so that it may be half an old one; an event of that is on its way.
            texts.pop(flag.field, None)
    return texts, acknowledgements


def _found(outcome: Any, instead: Any) -> Any:
    """Return *outcome*; *instead* for a key that does not exist or is hidden from this VM; raise other refusals."""
    if isinstance(outcome, KeyNotFound | PermissionDenied):
        return instead
    if isinstance(outcome, VMInterfaceError):
        raise outcome
    return outcome
