"""What the last push came to, by VM, and since when a VM is as it is: a small file beside that of the locks.

It is for later reports, and decides nothing: where it cannot be written or read, nothing is known of
former pushes, and no push fails for that. It is gone with the host's next start, as the keys of its VMs are.

A push notes all its VMs when the last of them is done. Another one may have begun and ended since with one that was let
go before; what that came to stays.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vminterface import keys, runtime
from vminterface.deadline import Deadline
from vminterface.dom0.push.lockfile import LockFile
from vminterface.dom0.push.locks import PAUSES
from vminterface.dom0.push.outcome import Outcome
from vminterface.errors import (
    DeadlineExceeded,
    Interrupted,
    SettingRefused,
    VMInterfaceError,
    VMNotRunning,
    printable,
)

NAME = "pushes.json"
#: Seconds to wait for another program that writes the file.
PATIENCE = 1.0
#: VMs of which something is kept, those of the latest pushes; bytes of the file that are read; characters of a message.
VMS_MAX, _BYTES_MAX, _MESSAGE_MAX = 5_000, 8 << 20, 400

#: One word for what a push came to, or for how a VM is found.
CONVERGED, DRIFTED, REFUSED, HUNG, NOT_RUNNING, INTERRUPTED, FAILED = (
    "Converged",
    "Drifted",
    "Refused",
    "Hung",
    "NotRunning",
    "Interrupted",
    "Failed",
)


@dataclass(frozen=True, slots=True)
class LastPush:
    """What is kept of one VM; moments are seconds since 1970."""

    #: When a push last left it as the pillar says; when its agent last acknowledged one; when one was last tried.
    pushed: int | None = None
    acknowledged: int | None = None
    tried: int | None = None
    #: What the last try came to, in one word and one sentence.
    reason: str = ""
    message: str = ""
    #: By what is watched of it: the word for how it is, and since when.
    since: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    #: When the last try ended by the host's monotonic clock, which all programs share: the order of two of one second.
    ended: float = 0.0

    def seen(self, what: str, word: str, now: int) -> LastPush:
        """Return this with *what* being *word* now; if it already was, the earlier time stays."""
        held = self.since.get(what)
        if held is not None and held[0] == word:
            return self
        return replace(self, since={**self.since, what: (word, now)})


def reason_of(error: VMInterfaceError | None) -> str:
    """Return the word for *error*, CONVERGED for none."""
    kinds = (
        (SettingRefused, REFUSED),
        (DeadlineExceeded, HUNG),
        (Interrupted, INTERRUPTED),
        (VMNotRunning, NOT_RUNNING),
    )
    return CONVERGED if error is None else next((word for kind, word in kinds if isinstance(error, kind)), FAILED)


def note(outcomes: Iterable[Outcome], folder: str | None = None) -> None:
    """Keep what a push came to; *folder* is where the file is, if not where it usually is."""
    done = list(outcomes)

    def add(held: dict[str, LastPush]) -> None:
        now, clock = int(time.time()), runtime.monotonic()
        for one in done:
            ended = clock if one.ended is None else one.ended
            held[one.vm] = _after(held.get(one.vm, LastPush()), one, ended, now - int(clock - ended), clock)

    update(add, folder)


def update(change: Callable[[dict[str, LastPush]], None], folder: str | None = None) -> dict[str, LastPush]:
    """Let *change* alter what is kept, by VM, while no other program does; return it, as it was where that fails."""
    held: dict[str, LastPush] = {}
    try:
        file = LockFile(folder, NAME)
    except VMInterfaceError:
        change(held)
        return held
    try:
        locked = _locked(file)
        held = _parsed(file.read(_BYTES_MAX, 0))
        before = dict(held)
        change(held)
        if locked and held != before:
            file.replace(_rendered(held))
    except (OSError, VMInterfaceError):
        pass
    finally:
        file.close()
    return held


def _locked(file: LockFile) -> bool:
    deadline, (pause, longest) = Deadline.after(PATIENCE), PAUSES
    while not file.lock(0, 1):
        if deadline.passed:
            return False
        runtime.sleep(min(pause, deadline.remaining))
        pause = min(2 * pause, longest)
    return True


def _after(held: LastPush, outcome: Outcome, ended: float, moment: int, clock: float) -> LastPush:
    """Return what is to be kept after *outcome*, of a try that *ended* at a *moment*; *clock* has the time now."""
    reason = reason_of(outcome.error) if outcome.as_asked else REFUSED if outcome.ok else reason_of(outcome.error)
    if outcome.ok and not outcome.running:
        reason = NOT_RUNNING
    good = reason == CONVERGED
    awaited = good and outcome.awaited and outcome.agent is not None and any(map(keys.is_field, outcome.changes))
    # A later time than now is one of another start of the host.
    if ended < held.ended <= clock:
        return replace(
            held,
            pushed=max(held.pushed or 0, moment) if good else held.pushed,
            acknowledged=max(held.acknowledged or 0, moment) if awaited else held.acknowledged,
        )
    message = "" if good else printable(outcome.comment(), _MESSAGE_MAX)
    return replace(
        held,
        tried=moment,
        reason=reason,
        message=message,
        pushed=moment if good else held.pushed,
        acknowledged=moment if awaited else held.acknowledged,
        ended=ended,
    ).seen("Pushed", reason, moment)


def _parsed(data: bytes) -> dict[str, LastPush]:
    """Return what the file holds; what is not of its form, as a new one or after a kill, is left out."""
    try:
        return {str(vm): _one(one) for vm, one in json.loads(data).items()}
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return {}


def _one(one: Mapping[str, Any]) -> LastPush:
    moments = {name: None if one[name] is None else int(one[name]) for name in ("pushed", "acknowledged", "tried")}
    since = {str(what): (str(word), int(when)) for what, (word, when) in one["since"].items()}
    ended = float(one.get("ended", 0.0))
    return LastPush(**moments, reason=str(one["reason"]), message=str(one["message"]), since=since, ended=ended)


def _rendered(held: Mapping[str, LastPush]) -> bytes:
    latest = sorted(held.items(), key=lambda item: _latest(item[1]), reverse=True)[:VMS_MAX]
    plain = {
        vm: {
            "pushed": one.pushed,
            "acknowledged": one.acknowledged,
            "tried": one.tried,
            "reason": one.reason,
            "message": one.message,
            "since": {what: list(pair) for what, pair in one.since.items()},
            "ended": one.ended,
        }
        for vm, one in latest
    }
    return json.dumps(plain, separators=(",", ":")).encode("ascii")


def _latest(one: LastPush) -> int:
    return max([one.tried or 0, *(when for _, when in one.since.values())])
