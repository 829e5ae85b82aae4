"""The keys of a VM's agent: those that it watches, their values, and its acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vminterface import keys
from vminterface.channel.store import KeyStore, List, Read
from vminterface.errors import InvalidValue, KeyNotFound, PermissionDenied, VMInterfaceError
from vminterface.values.pushmark import PushMark

_PLAIN = [row for row in keys.TABLE if not row.family and (row.setting or row.field in ("type", "default_user"))]
#: Read once more after their groups: a QubesDB has no transactions, and dom0 removes a flag while its group changes.
_FLAGS = [row for row in _PLAIN if row.field in keys.FLAGS.values()]
_FOLDERS = {row.name[:-2]: row for row in keys.TABLE if row.setting and row.family}

#: What a store replies of a key that does not exist, or that this VM does not see.
_NOTHING = (KeyNotFound, PermissionDenied)

#: What dom0 writes for an agent, and where it gives it a place for its answers.
WATCHED = (*(row.name for row in _PLAIN), *_FOLDERS, keys.ACKNOWLEDGEMENTS)


def path_in(store: KeyStore, name: str) -> str:
    """Return the path of the VM's own key *name* in *store*."""
    return store.home + name


@dataclass(frozen=True, slots=True)
class Reading:
    """What a store held: the *texts* of all keys that concern an agent, by field, and its *own* keys, by name."""

    texts: dict[str, str]
    own: dict[str, bytes]
    #: dom0's mark of a push, before and after these were read.
    marks: tuple[PushMark | None, PushMark | None]

    @property
    def unfinished(self) -> bool:
        """Whether dom0 was in the middle of a push, or made one meanwhile, so that this may be half of it."""
        before, after = self.marks
        return before != after or (after is not None and not after.written)


def read_mark(store: KeyStore) -> PushMark | None:
    """Return how far dom0 has come with writing a push, None where it has not marked any."""
    return _mark(store.batch([Read(path_in(store, keys.PUSH))])[0])


def read(store: KeyStore, own: Sequence[str]) -> Reading:
    """Return what *store* holds of the keys that concern an agent, and of its *own*."""
    home, mark = store.home, Read(path_in(store, keys.PUSH))
    again = [] if store.transactions else _FLAGS
    reads = [*((row, row.name) for row in _PLAIN), *((None, name) for name in own)]
    first, *outcomes = store.batch(
        [
            mark,
            *[Read(home + name) for _, name in reads],
            *[Read(home + flag.name) for flag in again],
            *[List(home + folder) for folder in _FOLDERS],
            mark,
        ]
    )
    *outcomes, last = outcomes
    flags, listings = outcomes[len(reads) : -len(_FOLDERS)], outcomes[-len(_FOLDERS) :]
    members = [
        (row.member(member), f"{folder}/{member}")
        for (folder, row), listing in zip(_FOLDERS.items(), listings, strict=True)
        for member in _found(listing, [])
    ]
    values = outcomes[: len(reads)]
    if members:
        *more, last = store.batch([*[Read(home + name) for _, name in members], mark])
        values += more
    texts, held = {}, {}
    for (row, name), outcome in zip([*reads, *members], values, strict=True):
        value = _found(outcome, None)
        if value is None:
            continue
        if row is None:
            held[name] = value
        else:
            texts[row.field] = value.decode("utf-8", "surrogateescape")
    for flag, outcome in zip(again, flags, strict=True):
        value = _found(outcome, None)
        if value is None or value.decode("utf-8", "surrogateescape") != texts.get(flag.field):
            # The group has changed meanwhile, so that it may be half an old one; an event of that is on its way.
            texts.pop(flag.field, None)
    return Reading(texts, held, (_mark(first), _mark(last)))


def _mark(outcome: Any) -> PushMark | None:
    value = _found(outcome, None)
    try:
        return None if value is None else PushMark.parse(value.decode("ascii", "replace"))
    except InvalidValue:
        return None


def _found(outcome: Any, instead: Any) -> Any:
    """Return *outcome*; *instead* for a key that does not exist or is hidden from this VM; raise other refusals."""
    if isinstance(outcome, _NOTHING):
        return instead
    if isinstance(outcome, VMInterfaceError):
        raise outcome
    return outcome
