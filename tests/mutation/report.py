"""What a run has found, kept by module in ``build/mutation``, and the figures of all of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation.equivalents import Key
from tests.mutation.mutants import Mutant
from tests.mutation.scope import ROOT

FOLDER = ROOT / "build" / "mutation"
#: Of those that are not equivalent, how many in a hundred have to be killed.
ENOUGH = 85


@dataclass
class Results:
    """How the mutants of one module ended."""

    module: str
    killed: list[Key] = field(default_factory=list)
    survived: list[tuple[Key, int, int]] = field(default_factory=list)  # with its line, and how many tests run it

    def add(self, mutant: Mutant, killed: bool, tests: int) -> None:
        """Note how *mutant* ended, with so many *tests* for it."""
        key = self.module, mutant.removed, mutant.added
        if killed:
            self.killed.append(key)
        else:
            self.survived.append((key, mutant.first, tests))

    @property
    def total(self) -> int:
        """How many mutants are known of."""
        return len(self.killed) + len(self.survived)

    def save(self, equivalent: set[Key]) -> None:
        """Write ``MODULE.json`` for the next run and ``MODULE.txt``, the survivors, for people."""
        path = _path(self.module)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"killed": self.killed, "survived": self.survived}), encoding="utf-8")
        lines = [f"## {self.module}"]
        for key, line, tests in sorted(self.survived, key=lambda one: one[1]):
            if key not in equivalent:
                lines += ["", f"line {line}, {tests} tests"]
                lines += [f"- {text}" for text in key[1]] + [f"+ {text}" for text in key[2]]
        path.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def figures(self, equivalent: set[Key]) -> Figures:
        """Return the numbers; a survivor in *equivalent* is none."""
        same = sum(key in equivalent for key, _, _ in self.survived)
        return Figures(self.module, len(self.killed), len(self.survived) - same, same)


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of mutants of a module or a part."""

    name: str
    killed: int
    survived: int
    equivalent: int

    @property
    def percent(self) -> float:
        """How many in a hundred of those that are not equivalent are killed."""
        counted = self.killed + self.survived
        return 100 * self.killed / counted if counted else 100.0

    def __str__(self) -> str:
        total = self.killed + self.survived + self.equivalent
        return (
            f"{self.name:<32} {total:>6} mutants {self.killed:>6} killed {self.equivalent:>5} equivalent"
            f" {self.survived:>5} survive {self.percent:>6.1f} %"
        )


def load(module: str) -> Results | None:
    """Return what was kept of a module, None where there is nothing."""
    path = _path(module)
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    survived = [(_key(key), line, tests) for key, line, tests in kept["survived"]]
    return Results(module, [_key(key) for key in kept["killed"]], survived)


def total(name: str, figures: list[Figures]) -> Figures:
    """Return the sum of *figures*."""
    return Figures(
        name,
        sum(one.killed for one in figures),
        sum(one.survived for one in figures),
        sum(one.equivalent for one in figures),
    )


def _key(kept: list[object]) -> Key:
    module, removed, added = kept
    assert isinstance(module, str)
    assert isinstance(removed, list)
    assert isinstance(added, list)
    return module, tuple(removed), tuple(added)


def _path(module: str) -> Path:
    return FOLDER / Path(module).with_suffix(".json")
