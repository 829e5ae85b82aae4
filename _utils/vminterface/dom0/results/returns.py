"""Outcomes as plain data: what Salt's modules and states hand back. Nothing here imports Salt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vminterface import keys as keytable
from vminterface.dom0.desired import words
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.dom0.ensure.step import Step
from vminterface.dom0.inventory.observed import VMState
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.persist.places import place_of
from vminterface.dom0.push.unaccepted import reason_of
from vminterface.dom0.results.raising import sentence
from vminterface.errors import VMInterfaceError
from vminterface.values.change import Change


def changes_of(outcome: Outcome, *, keys: bool = False) -> dict[str, dict[str, Any]]:
    """Return the changes of one VM as ``{field: {"old": …, "new": …}}``, fit for a terminal.

    Fields and values are those that the pillar has; with *keys* they are the keys of the store and their texts, and
    the features and properties of qubesd; None where there is none.
    """
    return _as_data(_keys(outcome.changes) if keys else outcome.fields)


def _as_data(changes: Mapping[str, Change[Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"old": words.plain(change.old), "new": words.plain(change.new)} for name, change in changes.items()}


def _keys(changes: Mapping[str, Change[Any]]) -> dict[str, Change[Any]]:
    """Return *changes*, by field, as those of keys and of what qubesd keeps, by name."""
    found: dict[str, Change[Any]] = {}
    for name, change in changes.items():
        field = name.removeprefix(words.PERSISTENT)
        if isinstance(change.new, ShownFirewall):
            before = {} if change.old is None else change.old.keys
            found.update({key: Change(before.get(key), text) for key, text in change.new.keys.items()})
            continue
        place = place_of(field) if field != name else None
        if place is not None:
            texts = (None if value is None else place.render(value) for value in (change.old, change.new))
            found[place.words] = Change(*texts)
        elif field == name and keytable.is_field(field):
            texts = (keytable.text_of(field, value) for value in (change.old, change.new))
            found[keytable.for_field(field).name] = Change(*texts)
        else:
            found[name] = change
    return found


def differing(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return those of *outcomes* with a change, an error, or a setting that is not accepted."""
    return [o for o in outcomes if o.changes or o.unaccepted or not o.as_asked]


def data_of(outcomes: Sequence[Outcome], *, test: bool = False, keys: bool = False) -> dict[str, dict[str, Any]]:
    """Return the outcome of each VM, by its name: ``ok``, ``running``, ``changes`` and ``comment``.

    *keys* as for :func:`changes_of`.

    Where the VM's owner does not accept something there is also ``unaccepted``: by setting, ``refuse`` or ``ignore``.
    A VM that was left out has ``left_out``: why.
    """
    return {
        o.vm: {
            "ok": o.as_asked,
            "running": o.running,
            "changes": changes_of(o, keys=keys),
            "comment": o.comment(test=test),
            **({"unaccepted": {name: one.word for name, one in o.unaccepted.items()}} if o.unaccepted else {}),
            **({"left_out": o.left_out} if o.left_out else {}),
        }
        for o in outcomes
    }


def agent_of(state: VMState) -> dict[str, Any] | None:
    """Return what the agent of the VM of *state* announces, None where none is in work."""
    if state.agent is None:
        return None
    unaccepted = {
        setting: {"owner": word, "reason": reason_of(state, setting)}
        for setting, word in sorted(state.agent.unaccepted.items())
    }
    data = {"version": state.agent.version, "settings": sorted(state.agent.settings)}
    return {**data, **({"unaccepted": unaccepted} if unaccepted else {})}


def drift_of(outcomes: Sequence[Outcome], *, keys: bool = False) -> dict[str, Any]:
    """Return the fields of VMs that differ, by VM: the values of the ``store`` and the ``pillar``; or an ``error``.

    The error is there as ``fault`` too, its former name, until 1.0. A field that stays so because of the VM's owner
    has also ``owner``: ``refuse`` or ``ignore``. *keys* as for :func:`changes_of`.
    """
    drifted: dict[str, Any] = {}
    for outcome in outcomes:
        if not outcome.ok:
            drifted[outcome.vm] = {"error": outcome.comment(), "fault": outcome.comment()}
            continue
        fields = {f: {"store": c["old"], "pillar": c["new"]} for f, c in changes_of(outcome, keys=keys).items()}
        for one in outcome.unaccepted.values():
            left = _keys(one.changes) if keys else words.changes(one.changes, outcome.same)
            for f, c in _as_data(left).items():
                fields[f] = {"store": c["old"], "pillar": c["new"], "owner": one.word}
        if fields:
            drifted[outcome.vm] = fields
    return drifted


def state(name: str, changes: Mapping[str, Any], comment: str, *, test: bool, ok: bool = True) -> dict[str, Any]:
    """Return a state's result: False for an error, None if something would change, else True."""
    result = False if not ok else None if test and changes else True
    return {"name": name, "result": result, "changes": dict(changes), "comment": comment}


def failure(name: str, error: VMInterfaceError) -> dict[str, Any]:
    """Return the result of a state that could not be brought about."""
    return state(name, {}, sentence(error), test=False, ok=False)


def state_of(name: str, outcome: Outcome, *, test: bool) -> dict[str, Any]:
    """Return the result of the state that concerns the one VM of *outcome*."""
    changes = changes_of(outcome) if outcome.ok else {}
    return state(name, changes, outcome.comment(test=test), test=test, ok=outcome.as_asked)


def state_of_step(name: str, step: Step, *, test: bool) -> dict[str, Any]:
    """Do *step* unless in *test* mode; return the result of the state that asks for it. Raises VMInterfaceError."""
    changes, comment = step.run(test=test)
    shown = {n: {"old": c.old, "new": c.new} if isinstance(c, Change) else c for n, c in changes.items()}
    return state(name, shown, comment, test=test)


def state_of_all(name: str, outcomes: Sequence[Outcome], *, test: bool) -> dict[str, Any]:
    """Return the result of a state about many VMs: one comment, and the changes of each VM by its name.

    It has no ``sub_state_run``: Salt counts such lines beside the state, whose own changes and result requisites need,
    so that one VM that has changed would count as two. The comment is that of the one VM; of several it has how many
    came to what, and a sentence for each VM that needs one.
    """
    changes = {o.vm: changes_of(o) for o in outcomes if o.ok and o.changes}
    return state(name, changes, _overall(outcomes, test=test), test=test, ok=all(o.as_asked for o in outcomes))


def _overall(outcomes: Sequence[Outcome], *, test: bool) -> str:
    if len(outcomes) == 1:
        return outcomes[0].comment(test=test)
    lines = [o.comment(test=test) for o in outcomes if not o.is_plain]
    return "\n".join((_counts(outcomes, test=test), *lines))


def _counts(outcomes: Sequence[Outcome], *, test: bool) -> str:
    failed = [o.vm for o in outcomes if not o.ok]
    partly = [o.vm for o in outcomes if o.ok and o.unaccepted]
    left_out = [o.vm for o in outcomes if o.left_out]
    rest = [o for o in outcomes if o.ok and not o.unaccepted and not o.left_out]
    counts = {
        f"failed ({', '.join(failed)})": len(failed),
        f"not fully accepted by the owner ({', '.join(partly)})": len(partly),
        "would be changed" if test else "changed": sum(bool(o.changes) for o in rest),
        "already as configured": sum(o.running and not o.changes for o in rest),
        "not running": sum(not o.running and not o.changes for o in rest),
        f"left out ({', '.join(left_out)})": len(left_out),
    }
    shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{len(outcomes)} VMs: {shown or 'nothing to do'}"
