"""The one form in which benchmarks give what they measured: a row has a name, a ratio or an amount, and what is wanted.

``python -m benchmarks`` runs all of them and prints one table of their rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

#: The environment's variable that names the file to which each benchmark adds its rows, a line of JSON each.
FILE_VARIABLE = "VMINTERFACE_BENCHMARK_ROWS"


@dataclass(frozen=True, slots=True)
class Row:
    """One number and its bound, the largest that is wanted, or with *at_least* the smallest."""

    name: str
    measured: float
    wanted: float
    #: Of both numbers, such as ``ms``; empty text for a ratio.
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the number is within its bound."""
        return self.measured >= self.wanted if self.at_least else self.measured <= self.wanted

    def cells(self) -> tuple[str, str, str, str]:
        """Return the name, what was measured, what is wanted, and the verdict."""
        unit = f" {self.unit}" if self.unit else ""
        sign = "≥" if self.at_least else "≤"
        verdict = "met" if self.met else "MISSED"
        return self.name, f"{self.measured:.4g}{unit}", f"{sign} {self.wanted:g}{unit}", verdict


def table(rows: Sequence[Row]) -> str:
    """Return *rows* as lines of text with columns."""
    lines = [("what", "measured", "wanted", ""), *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        f"  {name:<{widths[0]}}  {measured:>{widths[1]}}  {wanted:>{widths[2]}}  {verdict}".rstrip()
        for name, measured, wanted, verdict in lines
    )


def report(rows: Sequence[Row]) -> int:
    """Print *rows*, hand them to whoever runs all benchmarks, and return the exit status: 1 if a number is missed."""
    print(table(rows))
    if path := os.environ.get(FILE_VARIABLE):
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
    return 0 if all(row.met for row in rows) else 1


def read(path: str) -> list[Row]:
    """Return the rows that benchmarks have added to the file *path*."""
    with open(path, encoding="utf-8") as file:
        return [Row(**json.loads(line)) for line in file]
