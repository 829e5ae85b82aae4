"""What came of a soak, and whether it is good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.soak.slope import HEAD, Verdict

#: Lines of one list that are printed.
_SHOWN = 20


@dataclass(frozen=True)
class Result:
    """One soak on one release. Every list has one line for each thing that must not be."""

    release: str
    seed: str
    vms: int
    seconds: float
    #: What was reported how often, and what was done to the host how often.
    reports: Mapping[str, int]
    disturbances: Mapping[str, int]
    wrong: Sequence[str]
    unconverged: Sequence[str]
    leftovers: Sequence[str]
    lab: Sequence[str]
    verdicts: Sequence[Verdict]

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong, nothing is left and nothing grows."""
        lists = (self.wrong, self.unconverged, self.leftovers, self.lab)
        return not any(lists) and bool(self.verdicts) and all(verdict.flat for verdict in self.verdicts)

    def text(self) -> str:
        """Return all of it for an admin."""
        lines = [
            f"== soak on {self.release}: {self.vms} VMs, {self.seconds:.0f} s, SEED={self.seed}",
            f"reports: {_counted(self.reports)}",
            f"done to the host: {_counted(self.disturbances)}",
            "",
            HEAD,
            *(verdict.line() for verdict in self.verdicts),
            "",
        ]
        for title, found in (
            ("wrong reports", self.wrong),
            ("not as pushed at the end", self.unconverged),
            ("left behind", self.leftovers),
            ("what the lab could not do", self.lab),
        ):
            lines.append(f"{title}: {len(found)}")
            lines += [f"  {line}" for line in found[:_SHOWN]]
        lines.append("good" if self.ok else "NOT GOOD")
        return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(counts.items())) or "none"
