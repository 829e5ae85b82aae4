"""Leave out of an export what a push of it would change: the parser and a diff are asked, not guessed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from vminterface.dom0.desired import words
from vminterface.dom0.desired.pillarroot import VMS
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.dom0.export.vmexport import SHOWN, Path, VMExport
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import diff
from vminterface.errors import InvalidValue, SettingRefused, printable
from vminterface.keys import DEFAULT

_ROOT = "qubes"
#: Times that all VMs are asked about at most; each time at least one value is left out of a VM that is asked again.
_ROUNDS = 25
#: Values of one VM that are searched for at most, where no error and no difference names them.
_SEARCHED = 50


def settle(exports: Sequence[VMExport], targets: Targets) -> None:
    """Leave values out of *exports* until the parser takes all and a diff finds nothing to change.

    The value that an error or a change names is left out; where that is not a value of the VM, the cause is searched
    for. A VM that cannot be compared is left out as a whole. Raises what a diff does for the host's XenStore.
    """
    by_vm = {one.vm: one for one in exports}
    unsettled = {one.vm for one in exports if not one.error}
    for number in range(_ROUNDS + 2):
        settings = _parsed(exports, by_vm)
        asked = [one for one in settings if one.vm in unsettled]
        unsettled = set()
        for outcome in diff(asked, targets):
            misfit = _misfit(outcome)
            if misfit is None:
                continue
            unsettled.add(outcome.vm)
            export = by_vm[outcome.vm]
            if not misfit.of_fields:
                export.fail(misfit.text)
            elif number >= _ROUNDS or not [name for name, why in misfit.reasons.items() if export.drop(name, why)]:
                _search(export, targets, misfit)
        if not unsettled:
            return
    for vm in unsettled:
        by_vm[vm].fail("a push of its own values would change something, whatever is left out")


@dataclass(frozen=True, slots=True)
class _Misfit:
    """Why a VM's values cannot be exported as they are."""

    text: str
    #: Why, by the field that is named.
    reasons: Mapping[str, str]
    #: Whether it is one that other values could be without.
    of_fields: bool = True
    #: Whether it is that a push would change something.
    differs: bool = False


def _search(export: VMExport, targets: Targets, misfit: _Misfit) -> None:
    """Leave out of *export* what is at fault: put values together as long as all is well, and pass over the others."""
    if _ask(export.vm, {}, targets) is not None:
        export.fail(misfit.text)
        return
    rest = [{path: export.values[path] for path in unit} for unit in export.units()]
    good: dict[Path, Any] = {}
    faulty: list[tuple[dict[Path, Any], _Misfit]] = []
    why = misfit
    while rest and len(faulty) < _SEARCHED:
        # With the first *low* of the rest all is well, with the first *high* it is not.
        low, high = 0, len(rest)
        found = _ask(export.vm, _joined(good, rest), targets)
        if found is None:
            good, rest = _joined(good, rest), []
            break
        why = found
        while high - low > 1:
            middle = (low + high) // 2
            found = _ask(export.vm, _joined(good, rest[:middle]), targets)
            if found is None:
                low = middle
            else:
                high, why = middle, found
        good = _joined(good, rest[:low])
        faulty.append((rest[low], why))
        rest = rest[high:]
    for unit, why in faulty:
        # What comes later may be what it has to be with; of a mapping a member may be at fault alone.
        for left in ({}, *({path: unit[path]} for path in unit if len(unit) > 1)):
            kept = {path: value for path, value in unit.items() if path not in left}
            if _ask(export.vm, _joined(good, [kept]), targets) is None:
                good = _joined(good, [kept])
                unit = left
                break
        for path in unit:
            export.leave_out(path, _reason(why, path))
    for path in chain(*rest):
        export.leave_out(path, f"not examined, because {_SEARCHED} other values of the VM cannot be exported")
    export.complete()


def _joined(good: Mapping[Path, Any], units: Iterable[Mapping[Path, Any]]) -> dict[Path, Any]:
    return {**good, **{path: value for unit in units for path, value in unit.items()}}


def _reason(misfit: _Misfit, path: Path) -> str:
    """Return why what is at *path* is left out."""
    own = misfit.reasons.get(":".join(path))
    return own if own is not None else f"it also sets {misfit.text}" if misfit.differs else misfit.text


def _ask(vm: str, values: Mapping[Path, Any], targets: Targets) -> _Misfit | None:
    """Return what would be wrong if *vm* had nothing but these values."""
    some = VMExport(vm, {**values})
    try:
        [settings] = parse_pillar({_ROOT: {VMS: {some.vm: some.raw()}}}, root=_ROOT)
    except InvalidValue as error:
        return _Misfit(str(error), {names[1]: str(one) for one in error.errors if (names := _names(one.where))})
    [outcome] = diff([settings], targets)
    return _misfit(outcome)


def _parsed(exports: Iterable[VMExport], by_vm: dict[str, VMExport]) -> list[VMSettings]:
    """Return the settings; what the parser refuses is left out of the exports first."""
    while True:
        pillar = {_ROOT: {VMS: {one.vm: one.raw() for one in exports if not one.error}}}
        try:
            return parse_pillar(pillar, root=_ROOT)
        except InvalidValue as error:
            _drop_all(error.errors, by_vm)


def _misfit(outcome: Outcome) -> _Misfit | None:
    """Return what keeps a VM's values from being exported; None where a push would change nothing."""
    if outcome.error is not None:
        errors = outcome.error.errors if isinstance(outcome.error, InvalidValue) else ()
        named = [(names[1], str(one)) for one in errors if (names := _names(one.where)) and names[1]]
        return _Misfit(str(outcome.error), dict(named), isinstance(outcome.error, InvalidValue | SettingRefused))
    if not outcome.changes:
        return None
    reasons: dict[str, str] = {}
    for field, change in outcome.fields.items():
        before, after = words.line(change.old), words.line(change.new)
        old, new = printable(before, SHOWN), printable(after, SHOWN)
        name = field.removeprefix(words.PERSISTENT)
        why = f"a push would change it from {old} to {new}"
        if before == after and after in (DEFAULT, words.NONE):
            why = f"'{new}' is a keyword of the pillar (a pillar cannot express this text)"
        reasons.setdefault(name, why)
    text = "; ".join(f"{name}: {why}" for name, why in reasons.items())
    return _Misfit(text, reasons, differs=True)


def _drop_all(errors: Collection[InvalidValue], by_vm: dict[str, VMExport]) -> None:
    """Leave out what the parser names; of a mapping that is wrong as a whole, each of its values."""
    dropped: set[tuple[str, str]] = set()
    for error in errors:
        names = _names(error.where)
        if not names:
            raise error
        vm, field = names
        export, group = by_vm[vm], field.partition(":")[0]
        if export.drop(field, str(error)):
            dropped.add((vm, group))
        elif below := [path for path in export.values if path[0] == group]:
            for path in below:
                export.leave_out(path, str(error))
            dropped.add((vm, group))
        elif (vm, group) not in dropped:
            export.fail(str(error))


def _names(where: str) -> tuple[str, str] | None:
    """Return the VM and its field that a path of the pillar names, None for another path."""
    parts = where.split(":", 3)
    return (parts[2], parts[3] if len(parts) > 3 else "") if parts[:2] == [_ROOT, VMS] and len(parts) > 2 else None
