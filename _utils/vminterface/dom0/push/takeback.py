"""Give VMs back what they had before a push that went well: what a rollout does with a wave in which another VM failed.

The values to restore are those that :func:`push.diff` returned before that push. It goes to the stores under the VMs'
locks, as a push does, and back to qubesd; what another program has set meanwhile stays, and is reported. No agent is
waited for: the former values are to be there, whatever an agent acknowledges. Firewalls and monitors, which are not of
the VM's own keys, are pushed in their former words, a firewall as a whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from vminterface import keys
from vminterface.deadline import Deadline
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.dom0.desired.words import FIREWALL, MONITORS, PERSISTENT
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import keychanges
from vminterface.dom0.push.locks import VMLocks
from vminterface.dom0.push.monitors import NONE
from vminterface.dom0.push.outcome import Outcome, Work
from vminterface.dom0.push.persist import changes
from vminterface.dom0.push.persist.places import place_of
from vminterface.dom0.push.push import diff, push
from vminterface.errors import InvalidValue, VerificationFailed, VMInterfaceError
from vminterface.values import monitorsetting
from vminterface.values.change import Change

#: Seconds to wait for other programs that write to the VMs.
PATIENCE = 10.0


class TakenBack(VMInterfaceError):
    """A VM was given its settings, and then its former ones again."""


@dataclass(frozen=True, slots=True)
class Former:
    """What one VM had before a push, beside what the push gave it: texts, None for none; fit for JSON.

    Sources are the changes of an outcome of :func:`push.diff`.
    """

    vm: str
    #: By field: of keys, and of what qubesd keeps.
    keys: Mapping[str, Change[str]] = field(default_factory=dict)
    persistent: Mapping[str, Change[str]] = field(default_factory=dict)
    #: Its firewall and its monitors, in the pillar's words.
    words: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, would: Outcome) -> Self:
        """Return what the VM has while *would* is what a push would change."""
        texts: dict[str, Change[str]] = {}
        persistent: dict[str, Change[str]] = {}
        words: dict[str, Any] = {}
        for name, change in would.changes.items():
            inner = name.removeprefix(PERSISTENT)
            if isinstance(change.old, ShownFirewall):
                # What qubesd holds says more than the provider's keys, which it writes.
                if name != inner or inner not in words:
                    words[inner] = change.old.words
            elif inner == MONITORS:
                words[inner] = change.old
            elif name != inner and (place := place_of(inner)) is not None:
                old, new = (None if one is None else place.render(one) for one in (change.old, change.new))
                persistent[inner] = Change(old, new)
            elif keys.is_field(name):
                texts[name] = Change(keys.text_of(name, change.old), keys.text_of(name, change.new))
        return cls(would.vm, texts, persistent, words)

    @classmethod
    def parse(cls, vm: str, data: Any) -> Self:
        """Read the plain form, which this program has written. Raises LookupError, TypeError or ValueError."""
        texts, persistent = (
            {name: Change(old, new) for name, (old, new) in data[part].items()} for part in ("keys", "persistent")
        )
        return cls(vm, texts, persistent, dict(data["words"]))

    @property
    def undone(self) -> dict[str, Change[Any]]:
        """The changes that putting it back makes, by field, as those of an outcome."""
        values = {name: _turned(change, partial(keys.read_value, name)) for name, change in self.keys.items()}
        for name, change in _typed(self.persistent).items():
            values[f"{PERSISTENT}{name}"] = Change(change.new, change.old)
        return values

    def as_data(self) -> dict[str, Any]:
        """Return the plain form."""
        return {
            "keys": {name: [one.old, one.new] for name, one in self.keys.items()},
            "persistent": {name: [one.old, one.new] for name, one in self.persistent.items()},
            "words": dict(self.words),
        }


def take_back(
    formers: Sequence[Former],
    settings: Mapping[str, VMSettings],
    targets: Targets,
    *,
    stop: threading.Event,
    locks: VMLocks | None = None,
) -> dict[str, VMInterfaceError | None]:
    """Give the VMs of *formers* back what they had; return by VM what of it could not be done, None where all was.

    *settings* are those that were pushed, for how their firewalls and monitors are reached. A VM that does not run has
    no keys to put back. Raises the errors of the XenStore as a whole, LockUnavailable, DeadlineExceeded where another
    program does not let a VM go.
    """
    from vminterface.dom0.push.record import Record  # here, as most pushes are taken back by nobody

    errors: dict[str, VMInterfaceError | None] = dict.fromkeys((one.vm for one in formers), None)
    record = Record(errors)
    with locks or VMLocks() as held:
        held.take_all(errors, Deadline.after(PATIENCE), stop)
        qubesd = targets.qubesd()
        for one in formers:
            if one.persistent:
                first = TakenBack(f"{one.vm}: taken back")
                taken = changes.take_back(qubesd, one.vm, _typed(one.persistent), first)
                if taken.restored is False:
                    errors[one.vm] = taken.error
        for vm, error in _keys_back([one for one in formers if one.keys], settings, targets).items():
            errors[vm] = errors[vm] or error
    done = [one for one in formers if one.keys or one.persistent]
    record.outcomes([Outcome(one.vm, {} if errors[one.vm] else one.undone, error=errors[one.vm]) for one in done])
    for outcome in _words_back([one for one in formers if one.words], settings, targets, stop):
        errors[outcome.vm] = errors[outcome.vm] or outcome.error
    return errors


def _turned(change: Change[str], parse: Callable[[str], Any]) -> Change[Any]:
    """Return *change* the other way round, with the values that its texts are."""
    return Change(*(None if text is None else parse(text) for text in (change.new, change.old)))


def _typed(persistent: Mapping[str, Change[str]]) -> dict[str, Change[Any]]:
    found: dict[str, Change[Any]] = {}
    for name, change in persistent.items():
        place = place_of(name)
        assert place is not None
        found[name] = Change(*(None if text is None else place.parse(text) for text in (change.old, change.new)))
    return found


def _keys_back(
    formers: Sequence[Former], settings: Mapping[str, VMSettings], targets: Targets
) -> dict[str, VMInterfaceError]:
    errors: dict[str, VMInterfaceError] = {}
    by_vm = {one.vm: one for one in formers}
    for part in targets.waves(by_vm):
        access = {vm: settings[vm] for vm in part if vm in settings}
        found = targets.find(part, errors, access=access)
        states, unread = observed.read_all(found.values(), {vm: by_vm[vm].keys for vm in found})
        errors.update(unread)
        for vm, state in states.items():
            work = Work(settings.get(vm, VMSettings(vm)), state.target, state, Outcome(vm))
            try:
                others = keychanges.take_back(work, by_vm[vm].keys)
            except VMInterfaceError as error:
                errors[vm] = keychanges.of_vm(work, error)
            else:
                if others:
                    left = f"{', '.join(others)} was set by another program meanwhile and is kept"
                    errors[vm] = VerificationFailed(f"{vm}: {left}")
    return errors


def _words_back(
    formers: Sequence[Former], settings: Mapping[str, VMSettings], targets: Targets, stop: threading.Event
) -> Iterable[Outcome]:
    desired, lost = [], []
    changed = _changed_monitors([settings[one.vm] for one in formers if one.vm in settings], targets)
    for one in formers:
        if MONITORS in one.words and changed.get(one.vm) not in (None, NONE, one.words[MONITORS]):
            error = VerificationFailed(f"{one.vm}: {MONITORS} was set by another program meanwhile and is kept")
            lost.append(Outcome(one.vm, error=error))
            one = replace(one, words={name: words for name, words in one.words.items() if name != MONITORS})
        try:
            if one.words:
                desired.append(_former_settings(one, settings[one.vm]))
        except (InvalidValue, LookupError):
            names = " and ".join(sorted(one.words))
            error = VerificationFailed(f"{one.vm}: {names}: what it had before cannot be pushed, so the new one stays")
            lost.append(Outcome(one.vm, error=error))
    return [*lost, *push(desired, targets, stop=stop)]


def _changed_monitors(pushed: Sequence[VMSettings], targets: Targets) -> dict[str, Any]:
    """Return what VMs show in place of the monitors that they were given, in the pillar's words."""
    some = [one.only([MONITORS]) for one in pushed if one.monitors is not None]
    outcomes = diff(some, targets) if some else []
    return {one.vm: one.changes[MONITORS].old for one in outcomes if MONITORS in one.changes}


def _former_settings(one: Former, pushed: VMSettings) -> VMSettings:
    """Return the settings that give a VM its former firewall and monitors. Raises InvalidValue where none do."""
    settings = replace(pushed.only([FIREWALL, MONITORS]), firewall=None, monitors=None)
    if MONITORS in one.words:
        settings = replace(settings, monitors=monitorsetting.parse(one.words[MONITORS]))
    if FIREWALL in one.words:
        former = ClientFirewall.parse(one.words[FIREWALL])
        if former is None or pushed.firewall is None:
            raise InvalidValue("there is no former firewall")
        settings = replace(
            settings, firewall=replace(pushed.firewall, firewall=former.firewall, written=former.written)
        )
    return settings
