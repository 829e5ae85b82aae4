"""Outcomes as plain data: what Salt's modules and states hand back. Nothing here imports Salt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vminterface.channel.update import Difference
from vminterface.dom0.diff import as_changes
from vminterface.dom0.diff import shown as in_words
from vminterface.dom0.outcome import Outcome, count
from vminterface.dom0.steps.step import Step
from vminterface.errors import InvalidValue, LocalProtocolError, ResourcesExhausted, VMInterfaceError, printable

#: Characters of a value that are shown at most; a key holds 4096 bytes.
SHOWN = 4096


@contextmanager
def raising(invalid: type[Exception], failed: type[Exception]) -> Iterator[None]:
    """Turn this library's errors into the caller's own: *invalid* for an argument, *failed* for everything else."""
    try:
        yield
    except (InvalidValue, LocalProtocolError) as error:
        raise invalid(sentence(error)) from error
    except VMInterfaceError as error:
        raise failed(sentence(error)) from error
    except (RuntimeError, MemoryError) as error:
        if (exhausted := ResourcesExhausted.of(error)) is None:
            raise
        raise failed(str(exhausted)) from error


def sentence(error: VMInterfaceError) -> str:
    """Return what *error* says, ``path: message`` on a line of its own for each fault of a value."""
    if isinstance(error, InvalidValue):
        return "\n".join(f"{f.where}: {f}" if f.where else str(f) for f in error.faults)
    return str(error)


def changes_of(outcome: Outcome) -> dict[str, dict[str, str]]:
    """Return the changes of one VM as ``{field: {"old": …, "new": …}}``, fit for a terminal."""
    return {
        field: {when: printable(text, SHOWN) for when, text in change.items()}
        for field, change in as_changes(outcome.changes).items()
    }


def data_of(outcomes: Sequence[Outcome], *, test: bool = False) -> dict[str, dict[str, Any]]:
    """Return what came of each VM, by its name: ``ok``, ``running``, ``changes`` and ``comment``."""
    return {
        o.vm: {"ok": o.ok, "running": o.running, "changes": changes_of(o), "comment": o.comment(test=test)}
        for o in outcomes
    }


def drift_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the fields of VMs that differ, by VM: what the ``store`` and what the ``pillar`` says; or a ``fault``."""
    drifted: dict[str, Any] = {}
    for outcome in outcomes:
        if not outcome.ok:
            drifted[outcome.vm] = {"fault": outcome.comment()}
        elif outcome.changes:
            changes = changes_of(outcome)
            drifted[outcome.vm] = {f: {"store": c["old"], "pillar": c["new"]} for f, c in changes.items()}
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
    return state(name, changes, outcome.comment(test=test), test=test, ok=outcome.ok)


def state_of_step(name: str, step: Step, *, test: bool) -> dict[str, Any]:
    """Do *step* unless in *test* mode; return the result of the state that asks for it. Raises VMInterfaceError."""
    changes, comment = step.run(test=test)
    return state(name, changes, comment, test=test)


def state_of_all(
    name: str,
    outcomes: Sequence[Outcome],
    *,
    test: bool,
    state_id: str = "",
    function: tuple[str, str] = ("qubes_vm", "configured"),
) -> dict[str, Any]:
    """Return the result of a state about many VMs: one sentence of it all, and a line of its own for each VM.

    The lines are what Salt calls ``sub_state_run``; *state_id* is the ID that theirs start with, *function* the state
    that does the same for one VM. The changes of each VM are in its own line; the state itself says only which VMs had
    any, so that requisites see them.
    """
    changes = {
        o.vm: {"old": f"{count(o.changes)} not as configured", "new": "as configured"}
        for o in outcomes
        if o.ok and o.changes
    }
    whole = state(name, changes, _overall(outcomes, test=test), test=test, ok=all(o.ok for o in outcomes))
    whole["sub_state_run"] = [
        {
            **state_of(o.vm, o, test=test),
            "low": {
                "name": o.vm,
                "state": function[0],
                "__id__": f"{state_id or name}: {o.vm}",
                "fun": function[1],
            },
        }
        for o in outcomes
    ]
    return whole


def _overall(outcomes: Sequence[Outcome], *, test: bool) -> str:
    failed = [o.vm for o in outcomes if not o.ok]
    counts = {
        f"failed ({', '.join(failed)})": len(failed),
        "would be changed" if test else "changed": sum(o.ok and bool(o.changes) for o in outcomes),
        "already as configured": sum(o.ok and o.running and not o.changes for o in outcomes),
        "not running": sum(o.ok and not o.running and not o.changes for o in outcomes),
    }
    vms = "1 VM" if len(outcomes) == 1 else f"{len(outcomes)} VMs"
    return f"{vms}: {', '.join(f'{count} {what}' for what, count in counts.items() if count) or 'nothing to do'}"


def key_changes(differences: Mapping[str, Difference]) -> dict[str, dict[str, str | None]]:
    """Return *differences* of bare keys as ``{path: {"old": …, "new": …}}``, None where there is no such key."""
    return {path: {"old": shown(d.old), "new": shown(d.new)} for path, d in differences.items()}


def shown(value: bytes | None) -> str | None:
    """Return a key's value as printable ASCII, every other byte as an escape such as ``\\x1b``."""
    return None if value is None else printable(value, SHOWN)


def fields(texts: Mapping[str, str | None]) -> dict[str, str]:
    """Return the texts of a VM's fields in the pillar's words, sorted by field, fit for a terminal."""
    return {field: printable(in_words(field, text), SHOWN) for field, text in sorted(texts.items())}
