"""What lasts over a VM's restart: on Qubes R4, qubesd keeps it as features and properties and writes the keys anew.

Compared first; one call for each difference. It comes before the push of the keys themselves, and is taken back where
that fails, so that a VM has all of it or nothing. Sources: Qubes core-admin, its extensions ``services``,
``vm_config`` and ``gui``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vminterface.channel import adminapi
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.diff import PERSISTENT, Change
from vminterface.dom0.fields import DEFAULT
from vminterface.dom0.outcome import Outcome
from vminterface.dom0.settings import NETVM, VMSettings
from vminterface.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidValue,
    ProgramMissing,
    VerificationFailed,
    VMInterfaceError,
)
from vminterface.values.keyboard import KeyboardLayout

#: The key that a lasting time zone comes in, beside the one that qubesd itself writes.
_LASTING_TIMEZONE = "lasting:timezone"

Run = Callable[[Sequence[VMSettings]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where qubesd keeps a field: a feature or a property, with its texts for those of the key and back."""

    feature: bool
    name: str
    render: Callable[[str], str] = str
    parse: Callable[[str], str] = str


@dataclass(slots=True)
class _Plan:
    """What qubesd has to change for one VM."""

    changes: dict[str, Change] = field(default_factory=dict)
    error: VMInterfaceError | None = None


def diff(settings: Sequence[VMSettings], look: Run) -> list[Outcome]:
    """Return what *look* finds for *settings*, and what qubesd would have to change."""
    settings = _decided(settings)
    plans = _plans(settings, _Qubesd())
    outcomes = look([_completed(one) for one in settings])
    for outcome in outcomes:
        plan = plans[outcome.vm]
        outcome.error = outcome.error or plan.error
        outcome.changes = {} if outcome.error else _all_changes(plan, outcome.changes)
    return outcomes


def push(settings: Sequence[VMSettings], look: Run, write: Run) -> list[Outcome]:
    """Let qubesd keep what shall last, then let *write* push the keys. Outcomes are in the order of *settings*."""
    settings, qubesd = _decided(settings), _Qubesd()
    plans = _plans(settings, qubesd)
    outcomes = {vm: Outcome(vm, error=plan.error) for vm, plan in plans.items() if plan.error}
    # qubesd writes keys of running VMs too, so what a push changes is known beforehand alone.
    foreseen = {o.vm: o for o in look([_completed(one) for one in settings if plans[one.vm].changes])}
    for vm, outcome in foreseen.items():
        try:
            if outcome.error is not None:
                raise outcome.error
            _write(qubesd.api, vm, plans[vm].changes)
        except VMInterfaceError as error:
            outcomes[vm] = Outcome(vm, error=error, running=outcome.running)
    for outcome in write([_completed(one) for one in settings if one.vm not in outcomes]):
        vm, plan = outcome.vm, plans[outcome.vm]
        if plan.changes and outcome.error is not None:
            outcome.error = _taken_back(qubesd.api, vm, plan, outcome.error)
        elif plan.changes:
            outcome.changes = _all_changes(plan, {**foreseen[vm].changes, **outcome.changes})
        outcomes[vm] = outcome
    return [outcomes[one.vm] for one in settings]


class _Qubesd:
    """The one connection of a run, made when it is first needed; a qubesd that hangs has one deadline for all VMs."""

    def __init__(self) -> None:
        self._api: AdminAPI | None = None
        self._lost: VMInterfaceError | None = None

    @property
    def api(self) -> AdminAPI:
        if self._lost is not None:
            raise self._lost
        if self._api is None:
            self._api = AdminAPI.open()
        return self._api

    def lost(self, error: VMInterfaceError) -> None:
        """Ask no more."""
        self._lost = error


def _decided(settings: Sequence[VMSettings]) -> list[VMSettings]:
    """Return *settings* in which ``persist`` is said: where the pillar leaves it open, it is whether it can be done.

    Where it is switched off, netvm is no part of the push, as qubesd alone has it.
    """
    here = adminapi.available() if any(one.persist is None for one in settings) else False
    return [
        replace(one, persist=here) if one.persist is None else one if one.persist else replace(one, netvm=None)
        for one in settings
    ]


def _plans(settings: Sequence[VMSettings], qubesd: _Qubesd) -> dict[str, _Plan]:
    plans = {}
    for one in settings:
        plans[one.vm] = plan = _Plan()
        try:
            if one.persist:
                plan.changes = _compare(qubesd, one)
            elif one.netvm is not None:
                raise InvalidValue(f"{one.vm}: netvm is kept by qubesd alone, which this host has not (no qubesadmin)")
        except (ConnectionLost, DeadlineExceeded, ProgramMissing) as error:
            qubesd.lost(error)
            plan.error = type(error)(f"{one.vm}: {error}")
        except VMInterfaceError as error:
            plan.error = error
    return plans


def _compare(qubesd: _Qubesd, settings: VMSettings) -> dict[str, Change]:
    """Return the fields for which qubesd holds something else than *settings*, by field."""
    texts = {name: text for name, text in settings.desired.items() if _place(name) is not None}
    if settings.netvm is not None:
        texts[NETVM] = None if settings.netvm == DEFAULT else settings.netvm
    changes = {}
    for name, text in texts.items():
        place = _place(name)
        assert place is not None
        set_to, in_effect = _held(qubesd.api, settings.vm, place)
        if text != set_to and (text is None or text != in_effect):
            changes[name] = Change(set_to, text)
    return changes


def _held(api: AdminAPI, vm: str, place: _Place) -> tuple[str | None, str | None]:
    """Return the texts that the admin has set (None: nothing) and that are in effect."""
    if place.feature:
        value = api.feature(vm, place.name)
        text = None if value is None else place.parse(value)
        return text, text
    held = api.property(vm, place.name)
    text = place.parse(held.value)
    return (None if held.default else text), text


def _write(api: AdminAPI, vm: str, changes: Mapping[str, Change]) -> None:
    """Make *changes*, all of them or none."""
    done: dict[str, Change] = {}
    try:
        for name, change in changes.items():
            _set(api, vm, name, change.new)
            done[name] = change
    except VMInterfaceError as error:
        raise _taken_back(api, vm, _Plan(done), error) from error


def _set(api: AdminAPI, vm: str, name: str, text: str | None) -> None:
    place = _place(name)
    assert place is not None
    value = None if text is None else place.render(text)
    (api.set_feature if place.feature else api.set_property)(vm, place.name, value)


def _taken_back(api: AdminAPI, vm: str, plan: _Plan, first: VMInterfaceError) -> VMInterfaceError:
    """Put the former features and properties back; return the error to report."""
    try:
        for name, change in plan.changes.items():
            _set(api, vm, name, change.old)
    except VMInterfaceError as error:
        return VerificationFailed(f"{first}; and qubesd's former settings could not be restored: {error}")
    return first


def _completed(settings: VMSettings) -> VMSettings:
    """Return *settings* with the key of a lasting time zone: the same where it lasts, none where it does not."""
    if "timezone" not in settings.desired:
        return settings
    text = settings.desired["timezone"] if settings.persist else None
    return replace(settings, desired={**settings.desired, _LASTING_TIMEZONE: text})


def _all_changes(plan: _Plan, live: Mapping[str, Change]) -> dict[str, Change]:
    lasting = {f"{PERSISTENT}{name}": change for name, change in plan.changes.items()}
    told_already = {_LASTING_TIMEZONE} if "timezone" in plan.changes else set()
    return {**lasting, **{name: change for name, change in live.items() if name not in told_already}}


def _keyboard(text: str) -> str:
    try:
        return KeyboardLayout.parse(text).render()
    except InvalidValue:
        return text


_PLACES = {
    "timezone": _Place(True, "vm-config.vminterface-timezone"),
    "keyboard": _Place(False, "keyboard_layout", parse=_keyboard),
    "debug": _Place(
        False, "debug", lambda text: "True" if text == "1" else "False", lambda text: "1" if text == "True" else "0"
    ),
    "network:ip": _Place(False, "ip"),
    "network:all_dns": _Place(True, "vm-config.vminterface-dns"),
    NETVM: _Place(False, NETVM),
}


def _place(name: str) -> _Place | None:
    """Return where qubesd keeps the field *name*; None where it keeps none of it."""
    group, _, member = name.partition(":")
    if group == "services":
        return _Place(
            True, f"service.{member}", lambda text: "1" if text == "1" else "", lambda text: "1" if text else "0"
        )
    if group == "vm_config":
        return _Place(True, f"vm-config.{member}")
    return _PLACES.get(name)
