"""Values as plain data, in the pillar's words and fit for a terminal; loads nothing of what changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vminterface import keys as keytable
from vminterface.dom0.desired import words
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.errors import printable
from vminterface.values.change import Change

if TYPE_CHECKING:
    from vminterface.dom0.desired.settings import VMSettings
    from vminterface.dom0.inventory.observed import VMState


def key_changes(changes: Mapping[str, Change[bytes]]) -> dict[str, dict[str, str | None]]:
    """Return *changes* of bare keys as ``{path: {"old": …, "new": …}}``, None where the key does not exist."""
    return {path: {"old": shown(d.old), "new": shown(d.new)} for path, d in changes.items()}


def shown(value: bytes | None) -> str | None:
    """Return a key's value as printable ASCII, every other byte as an escape such as ``\\x1b``."""
    return None if value is None else printable(value, words.SHOWN)


def desired(values: Mapping[str, Any], *, keys: bool = False) -> dict[str, Any]:
    """Return the *values* that a VM is to have in the pillar's words, sorted by field, fit for a terminal.

    With *keys* they are the keys of the store and their texts, None where there is to be none.
    """
    if not keys:
        return _printable_all(words.fields(values))
    return _printable_all({keytable.for_field(f).name: keytable.text_of(f, value) for f, value in values.items()})


def settings(one: VMSettings, *, keys: bool = False) -> dict[str, Any]:
    """Return all fields of a VM that the pillar sets, in the pillar's words; *keys* as for :func:`desired`."""
    from vminterface.values import monitorsetting

    monitors = {} if one.monitors is None else {words.MONITORS: monitorsetting.in_words(one.monitors)}
    netvm = {} if one.netvm is None else {words.NETVM: one.netvm or words.NONE}
    shown_firewall = firewall(None if one.firewall is None else one.firewall.shown, keys=keys)
    return {**desired(one.desired, keys=keys), **persistent(one.persistent), **monitors, **netvm, **shown_firewall}


def persistent(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the *values* of fields that qubesd alone keeps, in the pillar's words."""
    return {name: words.value(name, value) for name, value in sorted(values.items())}


def firewall(one: ShownFirewall | None, *, keys: bool = False) -> dict[str, Any]:
    """Return *one* as the field ``firewall``; with *keys* as what holds it, a text each."""
    if one is None:
        return {}
    return {name: words.plain(shown) for name, shown in (one.keys if keys else {words.FIREWALL: one.words}).items()}


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the valid *values* of a VM's keys in the pillar's words, those that no pillar sets too."""
    return _printable_all(words.fields(values, every=True))


def held(state: VMState, *, keys: bool = False) -> dict[str, Any]:
    """Return what the store holds of a VM in the pillar's words, sorted by field, fit for a terminal.

    With *keys* they are the keys of the store, also those that no pillar sets, and their texts.
    """
    if not keys:
        return _printable_all(words.fields(state.values, ignore_keymap=state.target.store.per_vm))
    return _printable_all({keytable.for_field(field).name: text for field, text in state.texts.items()})


def _printable_all(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: words.plain(value) for name, value in sorted(found.items())}
