"""The line that a push leaves in the history: when, who, and of each VM the outcome with its fields, old and new."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vminterface import runtime
from vminterface.dom0.desired import words
from vminterface.dom0.history.author import author
from vminterface.dom0.history.chain import Head
from vminterface.dom0.history.log import History
from vminterface.dom0.push.outcome import Outcome
from vminterface.errors import SettingRefused, printable
from vminterface.keys import DEFAULT
from vminterface.values.change import Change

#: Fields whose values may be secret: they are kept as digests, unless this variable has the word below.
SECRET = frozenset({"vm_config"})
VALUES_VARIABLE, PLAIN = "VMINTERFACE_HISTORY_VALUES", "plain"
#: Outcomes of a VM; those of UNCHANGED and NOT_RUNNING are names in a list, as there is nothing else to say of them.
CHANGED, REFUSED, FAILED = "changed", "refused", "failed"
UNCHANGED, NOT_RUNNING = "unchanged", "not_running"
_COMMENT = 500
#: How moments are written; seconds between the end of a VM's part and that of the push from which on both are told.
_TIME, _APART = "%Y-%m-%dT%H:%M:%SZ", 1.0


class Record:
    """One push that has begun, in the thread that asked for it, to *vms*: it is recorded once with its result."""

    def __init__(self, vms: Iterable[str]) -> None:
        self._vms = sorted(vms)
        self._began = time.time()
        self._author = author()

    def outcomes(self, outcomes: Sequence[Outcome]) -> None:
        """Record the outcome of each VM."""
        if outcomes:
            History().keep(lambda head: {**self._start(), **entry(outcomes, head)})

    def error(self, error: Exception) -> None:
        """Record that it failed for all VMs, because of *error*."""
        failed = {"error": printable(str(error), _COMMENT), "not_reached": self._vms}
        History().keep(lambda head: {**self._start(), **failed})

    def _start(self) -> dict[str, Any]:
        # Whole seconds, of the moment in which the push ended.
        seconds = round(time.time() - self._began, 1)
        return {"time": time.strftime(_TIME, time.gmtime()), "seconds": seconds, "by": self._author}


def entry(outcomes: Sequence[Outcome], head: Head) -> dict[str, Any]:
    """Return what *outcomes* are in the history; *head* makes digests of what may be secret."""
    found: dict[str, dict[str, Any]] = {one.vm: _of(one, head) for one in outcomes if _outcome(one) is not None}
    rest = [one for one in outcomes if one.vm not in found]
    lists = {
        UNCHANGED: sorted(one.vm for one in rest if one.running),
        NOT_RUNNING: sorted(one.vm for one in rest if not one.running),
    }
    return {**({"vms": found} if found else {}), **{what: vms for what, vms in lists.items() if vms}}


def _outcome(outcome: Outcome) -> str | None:
    """Return the outcome of a VM that has changed, or is not as configured."""
    if isinstance(outcome.error, SettingRefused) or (outcome.ok and not outcome.as_asked):
        return REFUSED
    if not outcome.ok:
        return FAILED
    return CHANGED if outcome.changes else None


def _of(outcome: Outcome, head: Head) -> dict[str, Any]:
    """Return one VM's part: the changes that are made, or that a push which failed has tried to make."""
    changes = outcome.fields if outcome.ok else words.changes(outcome.tried, outcome.same)
    data: dict[str, Any] = {"outcome": _outcome(outcome), "changes": _changes(changes, head)}
    if not outcome.ok or outcome.unaccepted:
        data["comment"] = printable(outcome.comment(), _COMMENT)
    if outcome.unaccepted:
        data["unaccepted"] = {setting: one.word for setting, one in outcome.unaccepted.items()}
    if outcome.ended is not None and (since := runtime.monotonic() - outcome.ended) >= _APART:
        # Another push to it may have its line before this one.
        data["time"] = time.strftime(_TIME, time.gmtime(time.time() - since))
    return data


def _changes(changes: Mapping[str, Change[Any]], head: Head) -> dict[str, dict[str, Any]]:
    plain = os.environ.get(VALUES_VARIABLE) == PLAIN
    found = {}
    for field, change in changes.items():
        secret = not plain and field.removeprefix(words.PERSISTENT).partition(":")[0] in SECRET
        values = (words.plain(value) for value in (change.old, change.new))
        old, new = (_digest(value, head) if secret else value for value in values)
        found[field] = {"old": old, "new": new}
    return found


def _digest(value: Any, head: Head) -> Any:
    # That there is no value is no secret.
    return value if value in (None, DEFAULT) else head.digest(value)
