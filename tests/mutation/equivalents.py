"""The mutants that no test can tell from the code as it is, each with the reason: ``equivalent/*.txt``.

A line ``## values/port.py`` names the module, a line that starts with ``=`` says why, and each group of lines with
``-`` and ``+`` below is a mutant, as the report of a run shows it. Empty lines part mutants; the reason holds until
the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "equivalent"
#: A mutant: its module, the lines that go, and those that come.
Key = tuple[str, tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Equivalent:
    """One mutant that behaves as the code does, and why."""

    module: str
    removed: tuple[str, ...]
    added: tuple[str, ...]
    reason: str

    @property
    def key(self) -> Key:
        """What it is found by."""
        return self.module, self.removed, self.added


def equivalents(folder: Path = FOLDER) -> list[Equivalent]:
    """Read all files of *folder*. Raises ValueError where a line is none of these."""
    return [one for path in sorted(folder.glob("*.txt")) for one in _parse(path)]


def _parse(path: Path) -> Iterator[Equivalent]:
    module = reason = ""
    removed: list[str] = []
    added: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate([*lines, ""], 1):
        mark, text = line[:1], line[1:].strip()
        if (removed or added) and (mark not in ("-", "+") or (mark == "-" and added)):
            if not module or not reason:
                raise ValueError(f"{path.name}:{number - 1}: a mutant without a module and a reason")
            yield Equivalent(module, tuple(removed), tuple(added), reason)
            removed, added = [], []
        if line.startswith("## "):
            module, reason = line[3:].strip(), ""
        elif mark == "=":
            reason = text
        elif mark == "-":
            removed.append(text)
        elif mark == "+":
            added.append(text)
        elif line.strip():
            raise ValueError(f"{path.name}:{number}: unknown line (expected one with ##, =, - or + at its beginning)")
