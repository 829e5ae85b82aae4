"""Changes that qubesd is to keep, all of them or none: what it has is compared first, and put back where one fails.

qubesd stores first and acts on it then, so that a call that fails, or gets no reply in time, may have been stored all
the same. What failed is therefore read again and put back with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vminterface.dom0.diff import Change, shown
from vminterface.dom0.persistplaces import Held, Place, place_of
from vminterface.dom0.qubesd import Qubesd
from vminterface.errors import InvalidValue, InvalidValues, VerificationFailed, VMInterfaceError, printable


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of taking changes back."""

    #: What failed first, and what is left, if anything is.
    error: VMInterfaceError
    #: Whether all is as before; None: nothing had to be put back.
    restored: bool | None


class NotKept(Exception):
    """Changes could not be made; *taken* is what came of taking them back."""

    def __init__(self, taken: Taken) -> None:
        super().__init__(str(taken.error))
        self.taken = taken


def compare(qubesd: Qubesd, vm: str, texts: Mapping[str, str | None], path: Callable[[str], str]) -> dict[str, Change]:
    """Return the fields for which qubesd has something else than *texts*, by field; None in *texts*: nothing set.

    Nothing is asked before all texts are known to be good. Raises InvalidValues, each fault at the *path* of
    its field, and the errors of AdminAPI.
    """
    places = {field: place for field in texts if (place := place_of(field)) is not None}
    _check(places, texts, path)
    changes = {}
    for field, place in places.items():
        held, text = _read(qubesd, vm, field, place), texts[field]
        if text != held.set_to and (text is None or text != held.in_effect):
            changes[field] = Change(held.set_to, text)
    return changes


def make(qubesd: Qubesd, vm: str, changes: Mapping[str, Change]) -> None:
    """Make *changes*, all of them or none. Raises NotKept."""
    try:
        qubesd.check(vm)
    except VMInterfaceError as error:
        raise NotKept(Taken(error, None)) from error
    tried: dict[str, Change] = {}
    for field, change in changes.items():
        tried[field] = change
        try:
            _write(qubesd, vm, field, change.new)
        except VMInterfaceError as error:
            raise NotKept(take_back(qubesd, vm, tried, error)) from error


def take_back(qubesd: Qubesd, vm: str, changes: Mapping[str, Change], first: VMInterfaceError) -> Taken:
    """Put what was before *changes* back, the last first, because *first* has happened."""
    qubesd.wait_longer()
    left: list[str] = []
    reasons: list[str] = []
    restored = None
    for field, change in reversed(list(changes.items())):
        try:
            done, why = _put_back(qubesd, vm, field, change)
        except VMInterfaceError as error:
            done = False
            why = f"{_words(field)} may be {_shown(field, change.new)}, and was {_shown(field, change.old)}"
            reasons.append(str(error))
        restored = restored or done or None
        left += [why] if why else []
    if not left:
        return Taken(first, restored)
    reason = f" ({reasons[0]})" if reasons else ""
    return Taken(VerificationFailed(f"{first}; not taken back in qubesd: {'; '.join(left)}{reason}"), False)


def _put_back(qubesd: Qubesd, vm: str, field: str, change: Change) -> tuple[bool, str]:
    """Return whether the former value had to be put back, and what is left if that could not be done."""
    place = place_of(field)
    assert place is not None
    now = _read(qubesd, vm, field, place).set_to
    if now == change.old:
        return False, ""
    if now != change.new:
        return False, f"{_words(field)} was set to {_shown(field, now)} by another program meanwhile, and stays"
    try:
        _write(qubesd, vm, field, change.old)
    except VMInterfaceError as error:
        # This call too may have stored what it failed at.
        if (now := _read(qubesd, vm, field, place).set_to) != change.old:
            return False, f"{_words(field)} is {_shown(field, now)}, and was {_shown(field, change.old)} ({error})"
    return True, ""


def _check(places: Mapping[str, Place], texts: Mapping[str, str | None], path: Callable[[str], str]) -> None:
    faults = []
    for field, place in places.items():
        try:
            if (text := texts[field]) is not None:
                place.check(text)
        except InvalidValue as error:
            faults.append(InvalidValue(str(error), path(field)))
    if faults:
        raise InvalidValues(faults)


def _read(qubesd: Qubesd, vm: str, field: str, place: Place) -> Held:
    return qubesd.call(vm, field, place.words, lambda api: place.read(api, vm))


def _write(qubesd: Qubesd, vm: str, field: str, text: str | None) -> None:
    place = place_of(field)
    assert place is not None
    qubesd.call(vm, field, place.words, lambda api: place.write(api, vm, text))


def _words(field: str) -> str:
    """Return *field* with the name that qubesd has for it."""
    place = place_of(field)
    return field if place is None else f"{field} ({place.words})"


def _shown(field: str, text: str | None) -> str:
    return f"'{printable(shown(field, text), 60)}'"
