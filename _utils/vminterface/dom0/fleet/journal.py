"""What a rollout has begun and done, in a file that outlives it: how one that was killed is taken back or resumed.

It is written and flushed to the disk before anything is given to a unit, so that what a unit had before is known
whatever happens then. One program at a time has it open.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vminterface.dom0.transfer.wholefile import write_whole
from vminterface.errors import InvalidValue, LockUnavailable, VMInterfaceError, printable
from vminterface.regex import regex

#: Where the files are, and the variable that names another folder, as in a lab.
FOLDER = "/var/lib/vminterface/rollouts"
FOLDER_VARIABLE = "VMINTERFACE_ROLLOUTS"
#: Files that are kept, those of the latest rollouts; bytes of one of them.
KEPT, _BYTES_MAX = 20, 64 << 20
_NAME = regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

#: What became of a unit. One that failed has what it had before; of one that is unsure that is not known.
WAITING, DONE, FAILED, UNSURE, RESTORED, LEFT = "waiting", "done", "failed", "unsure", "restored", "not_restored"


class RolloutExists(VMInterfaceError):
    """A rollout of that name was begun before; it is to be resumed, taken back, or another name to be given."""


class NoSuchRollout(VMInterfaceError, LookupError):
    """No rollout of that name was begun here."""


def _not_begun(name: str) -> NoSuchRollout:
    return NoSuchRollout(f"no rollout called {name} was begun here")


@dataclass(slots=True)
class Unit:
    """The result of one VM or host: a state of the above, and one sentence if needed."""

    state: str = WAITING
    message: str = ""


@dataclass(slots=True)
class Journal:
    """One rollout. Make it with :meth:`begin` or :meth:`open`; it is open for this program until it is closed."""

    path: Path
    name: str
    waves: list[list[str]] = field(default_factory=list)
    #: How many waves have been done, and whether the next one has been begun.
    done: int = 0
    begun: bool = False
    #: How it ended: empty while it has not.
    ended: str = ""
    units: dict[str, Unit] = field(default_factory=dict)
    #: What each unit had before, as whoever takes it back reads it.
    former: dict[str, Any] = field(default_factory=dict)
    #: Failures so far.
    failures: int = 0
    _lock: int = -1

    @classmethod
    def begin(cls, name: str, waves: Sequence[Sequence[str]], folder: str | None = None) -> Self:
        """Return a new journal of *waves*. Raises InvalidValue for a name that is none, RolloutExists, as _opened."""
        journal = cls._opened(name, folder)
        if journal.path.exists():
            journal.close()
            raise RolloutExists(f"a rollout called {name} was begun before (expected resume, restore, or another name)")
        journal.waves = [list(wave) for wave in waves]
        journal.units = {unit: Unit() for wave in waves for unit in wave}
        journal.write()
        journal._forget_old()
        return journal

    @classmethod
    def open(cls, name: str, folder: str | None = None) -> Self:
        """Return the journal of a rollout that was begun. Raises NoSuchRollout where there is none, as _opened."""
        journal = cls._opened(name, folder, begun=True)
        try:
            with journal.path.open("rb") as file:
                data = json.loads(file.read(_BYTES_MAX))
            journal.waves = [[str(unit) for unit in wave] for wave in data["waves"]]
            journal.units = {str(unit): Unit(*map(str, one)) for unit, one in data["units"].items()}
            journal.done, journal.begun = int(data["done"]), bool(data["begun"])
            journal.failures, journal.ended = int(data["failures"]), str(data["ended"])
            journal.former = dict(data["former"])
        except FileNotFoundError:
            journal.close()
            raise _not_begun(name) from None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            journal.close()
            what = printable(str(error))
            raise VMInterfaceError(f"{journal.path}: is not the journal of a rollout: {what}") from error
        return journal

    @classmethod
    def _opened(cls, name: str, folder: str | None, *, begun: bool = False) -> Self:
        """Return an empty journal that no other program has, *begun*: of a rollout that there is.

        Raises InvalidValue, LockUnavailable, NoSuchRollout.
        """
        if not _NAME.fullmatch(name):
            shown = printable(name, 80)
            raise InvalidValue(f"'{shown}' is not a name for a rollout (expected letters, digits, _ . -, at most 64)")
        place = Path(folder or os.environ.get(FOLDER_VARIABLE) or FOLDER)
        if begun and not (place / f"{name}.json").exists():
            raise _not_begun(name)
        try:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(place / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LockUnavailable(f"{place}: {error.strerror}: a rollout keeps there what it has done") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise LockUnavailable(f"the rollout {name} is at work in another program") from None
        return cls(place / f"{name}.json", name, _lock=lock)

    @property
    def wave(self) -> list[str]:
        """The units of the wave that comes next, or has been begun."""
        return self.waves[self.done]

    @property
    def touched(self) -> list[str]:
        """The units that have been given something, as far as is known, and have it still."""
        some = [unit for wave in self.waves[: self.done + self.begun] for unit in wave]
        return [unit for unit in some if self.units[unit].state not in (FAILED, RESTORED)]

    def write(self) -> None:
        """Write this object to the file, durably. Raises FileError."""
        data = {
            "name": self.name,
            "waves": self.waves,
            "done": self.done,
            "begun": self.begun,
            "ended": self.ended,
            "failures": self.failures,
            "units": {unit: [one.state, one.message] for unit, one in self.units.items()},
            "former": self.former,
        }
        write_whole(self.path, [json.dumps(data, separators=(",", ":")).encode("ascii")], mode=0o600)

    def _forget_old(self) -> None:
        """Remove the files of rollouts that have ended, but for those of the latest."""
        with suppress(OSError, ValueError):
            files = sorted(self.path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
            for file in files[KEPT:]:
                if json.loads(file.read_bytes())["ended"]:
                    file.unlink(missing_ok=True)
                    file.with_suffix(".lock").unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the file, so that another rollout may have its name, and close this object."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let other programs have it; may be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def of(self, state: str) -> list[str]:
        """Return the units of that state, in the order of the waves."""
        return [unit for wave in self.waves for unit in wave if self.units[unit].state == state]

    @property
    def comment(self) -> str:
        """One sentence about the whole."""
        counts = {
            "done": len(self.of(DONE)),
            "failed": len(self.of(FAILED)),
            "without a known outcome": len(self.of(UNSURE)),
            "restored": len(self.of(RESTORED)),
            "not restored": len(self.of(LEFT)),
            "not reached": len(self.of(WAITING)),
        }
        where = f" in wave {self.done + 1} of {len(self.waves)}" if self.done < len(self.waves) else ""
        shown = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
        return f"{self.name}: {self.ended or 'interrupted'}{where}: {shown}"

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data for JSON: a mapping of units is by name."""
        numbers: Mapping[str, int] = {unit: at for at, wave in enumerate(self.waves, 1) for unit in wave}
        return {
            "kind": "rollout",
            "rollout": self.name,
            "comment": self.comment,
            "ended": self.ended,
            "waves": [len(wave) for wave in self.waves],
            "done": self.done,
            "failures": self.failures,
            "units": {
                unit: {"wave": numbers[unit], "state": one.state, "message": one.message}
                for unit, one in self.units.items()
            },
        }
