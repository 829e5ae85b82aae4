"""Changes that qubesd is to keep, all of them or none: what it has is compared first, and put back where one fails.

qubesd stores first and acts on it then, so that a call that fails, or gets no reply in time, may have been stored all
the same. What failed is therefore read again and put back with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vminterface.dom0.desired import words
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.push.persist import followers
from vminterface.dom0.push.persist.places import Held, Place, place_of
from vminterface.errors import InvalidValue, InvalidValues, VerificationFailed, VMInterfaceError, printable
from vminterface.values.change import Change

#: Fields whose default in qubesd follows from another field's value.
_HANGS_ON = {"maxmem": "memory", "keyboard": "guivm"}


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of restoring changes."""

    #: What failed first, and what is left, if anything is.
    error: VMInterfaceError
    #: Whether all is as before; None: nothing had to be put back.
    restored: bool | None


class NotPersisted(Exception):
    """Changes could not be made; *taken* is the result of restoring them."""

    def __init__(self, taken: Taken) -> None:
        super().__init__(str(taken.error))
        self.taken = taken


def compare(qubesd: Qubesd, vm: str, values: Mapping[str, Any], path: Callable[[str], str]) -> dict[str, Change[Any]]:
    """Return the fields for which qubesd has something else than *values*, by field; None in them: nothing set.

    Those that qubesd changes by itself with one of them are there too, the last, also where they come out the same.
    Nothing is asked before all values are known to be good. Raises InvalidValues, each fault at the *path* of
    its field, and the errors of AdminAPI.
    """
    places = {field: place for field in values if (place := place_of(field)) is not None}
    _check(places, values, path)
    changes: dict[str, Change[Any]] = {}
    unset: dict[str, Change[Any]] = {}
    for field, place in places.items():
        held, value = _read(qubesd, vm, field, place), values[field]
        if value != held.set_to:
            desired = changes if value is None or value != held.in_effect else unset
            desired[field] = Change(held.set_to, value)
    # A default that another change makes a different one is none any longer.
    changes.update({field: change for field, change in unset.items() if _HANGS_ON.get(field) in changes})
    for field, made in list(followers.of(changes)):
        changes.pop(field, None)
        changes[field] = Change(_now(qubesd, vm, field), values.get(field, made))
    return changes


def make(qubesd: Qubesd, vm: str, changes: Mapping[str, Change[Any]]) -> None:
    """Make *changes*, all of them or none. Raises NotPersisted."""
    try:
        qubesd.check(vm)
    except VMInterfaceError as error:
        raise NotPersisted(Taken(error, None)) from error
    tried: dict[str, Change[Any]] = {}
    for field, change in changes.items():
        tried[field] = change
        tried.update({name: changes[name] for name, _ in followers.of({field: change}) if name in changes})
        try:
            if field in followers.FOLLOWERS and _now(qubesd, vm, field) == change.new:
                continue
            _write(qubesd, vm, field, change.new)
        except VMInterfaceError as error:
            raise NotPersisted(take_back(qubesd, vm, tried, error, failed=field)) from error


def take_back(
    qubesd: Qubesd, vm: str, changes: Mapping[str, Change[Any]], first: VMInterfaceError, *, failed: str = ""
) -> Taken:
    """Put what was before *changes* back, the last first, because *first* has happened, at *failed* if at a field."""
    qubesd.wait_longer()
    left: list[str] = []
    unsure: list[str] = []
    reasons: list[str] = []
    restored = None
    turns = [*reversed(list(changes.items()))]
    # Their property's turn would change them once more.
    turns.sort(key=lambda one: one[0] in followers.FOLLOWERS)
    for field, change in turns:
        try:
            done, why, doubt = _put_back(qubesd, vm, field, change)
            # What qubesd has failed at from the first never came to a running VM.
            unsure += [doubt] if doubt and field != failed else []
        except VMInterfaceError as error:
            done = False
            why = f"{_words(field)} may be {_shown(field, change.new)}, and was {_shown(field, change.old)}"
            reasons.append(str(error))
        restored = restored or done or None
        left += [why] if why else []
    if not left and not unsure:
        return Taken(first, restored)
    reason = f" ({reasons[0]})" if reasons else ""
    text = f"{first}; not restored in qubesd: {'; '.join(left)}{reason}" if left else str(first)
    return Taken(VerificationFailed("; ".join([text, *unsure])), False)


def _put_back(qubesd: Qubesd, vm: str, field: str, change: Change[Any]) -> tuple[bool, str, str]:
    """Return whether the former value had to be put back, what is left if that could not be done, and what is unsure.

    That is so where qubesd has the former value, but has failed at giving it to a running VM.
    """
    now = _now(qubesd, vm, field)
    if now == change.old:
        return False, "", ""
    if now != change.new and field not in followers.FOLLOWERS:
        return False, f"{_words(field)} was set to {_shown(field, now)} by another program meanwhile, and stays", ""
    try:
        _write(qubesd, vm, field, change.old)
    except VMInterfaceError as error:
        # This call too may have stored what it failed at.
        if (now := _now(qubesd, vm, field)) != change.old:
            return False, f"{_words(field)} is {_shown(field, now)}, and was {_shown(field, change.old)} ({error})", ""
        doubt = f"qubesd failed after it stored the former value ({error}): if {vm} runs, it may still have"
        return True, "", f"{doubt} {_shown(field, change.new)}"
    return True, "", ""


def _check(places: Mapping[str, Place], values: Mapping[str, Any], path: Callable[[str], str]) -> None:
    errors = []
    for field, place in places.items():
        try:
            if (value := values[field]) is not None:
                place.check(value)
        except InvalidValue as error:
            errors.append(InvalidValue(str(error), path(field)))
    if errors:
        raise InvalidValues(errors)


def _read(qubesd: Qubesd, vm: str, field: str, place: Place) -> Held:
    return qubesd.call(vm, field, place.words, lambda api: place.read(api, vm))


def _now(qubesd: Qubesd, vm: str, field: str) -> Any:
    place = place_of(field)
    assert place is not None
    return _read(qubesd, vm, field, place).set_to


def _write(qubesd: Qubesd, vm: str, field: str, value: Any) -> None:
    place = place_of(field)
    assert place is not None
    qubesd.call(vm, field, place.words, lambda api: place.write(api, vm, value))


def _words(field: str) -> str:
    """Return the pillar's name of *field* with the name that qubesd has for it."""
    place, (name,) = place_of(field), words.names([field])
    return name if place is None else f"{name} ({place.words})"


def _shown(field: str, value: Any) -> str:
    return f"'{printable(words.text(field, value), 60)}'"
