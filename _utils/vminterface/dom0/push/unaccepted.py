"""Settings that a VM's owner does not let its agent apply: left out of a push, with an outcome of their own.

The agent announces them, so that a push writes nothing of them; where it does so only after they were written, as at
the first push to a VM of the XenStore, those alone are taken back. Its acknowledgement has the owner's reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vminterface import keys
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import PERSISTENT
from vminterface.dom0.inventory.observed import VMState
from vminterface.values.acceptance import ACCEPT, IGNORE, REFUSE
from vminterface.values.change import Change

_WORDS = {IGNORE: "ignores", REFUSE: "does not accept"}


@dataclass(frozen=True, slots=True)
class Unaccepted:
    """One such setting: *word* is IGNORE or REFUSE, *reason* is the agent's, printable."""

    setting: str
    word: str
    reason: str
    #: Whether the pillar lets the VM's owner refuse it.
    optional: bool
    #: Those of its fields that are not as the pillar says, and stay so.
    changes: Mapping[str, Change[Any]] = field(default_factory=dict)

    @property
    def is_error(self) -> bool:
        """Whether the pillar asks for it in vain: neither is it optional, nor does the owner call it harmless."""
        return self.word == REFUSE and not self.optional


def find(settings: VMSettings, state: VMState, changes: Mapping[str, Change[Any]]) -> dict[str, Unaccepted]:
    """Return what of *settings* the VM's agent announces as unaccepted, by setting; *changes* are those of a push."""
    found = {}
    announced = {} if state.agent is None else state.agent.unaccepted
    for setting in sorted(keys.settings_of(settings.desired) & announced.keys()):
        optional = setting in settings.optional
        reason = reason_of(state, setting)
        found[setting] = Unaccepted(setting, announced[setting], reason, optional, part(changes, {setting}))
    return found


def reason_of(state: VMState, setting: str) -> str:
    """Return why the VM's owner does not accept *setting*, from its agent's acknowledgement."""
    said = state.acknowledgements.get(setting)
    return said.note if said is not None and said.owner != ACCEPT else "decided by its owner"


def part(changes: Mapping[str, Change[Any]], settings: Collection[str]) -> dict[str, Change[Any]]:
    """Return those of *changes*, of keys or of what qubesd keeps, that are of *settings*."""
    return {name: change for name, change in changes.items() if _setting(name) in settings}


def without(changes: Mapping[str, Change[Any]], settings: Collection[str]) -> dict[str, Change[Any]]:
    """Return those of *changes* that are not of *settings*."""
    return {name: change for name, change in changes.items() if _setting(name) not in settings}


def leave_out(settings: VMSettings, names: Collection[str]) -> VMSettings:
    """Return *settings* without the fields of the settings *names*."""
    desired = {name: value for name, value in settings.desired.items() if _setting(name) not in names}
    return replace(settings, desired=desired) if names else settings


def sentences(vm: str, found: Iterable[Unaccepted]) -> list[str]:
    """Return the sentences about them in *vm*, those with one reason together."""
    groups: dict[tuple[str, bool, str], list[str]] = {}
    for one in found:
        groups.setdefault((one.word, one.optional, one.reason), []).append(one.setting)
    return [
        f"{vm} {_WORDS[word]} {', '.join(names)}{' (optional)' if optional else ''}: {reason}"
        for (word, optional, reason), names in groups.items()
    ]


def _setting(name: str) -> str:
    name = name.removeprefix(PERSISTENT)
    return keys.for_field(name).setting if keys.is_field(name) else ""
