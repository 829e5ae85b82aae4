"""Is it flat? The slope of a measure over the lives of many processes of one kind, and whether that is too much.

All processes of a kind share one slope, and each has a level of its own: so those that were started again meanwhile
count as well, each from the end of its own warm-up on. Points of one process within the same stretch of time are
averaged, so that a level which goes up and down is not taken for many independent sightings of a trend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

#: Standard errors by which a slope has to be above its limit: the chance of less for one that is at it is 1 in 1,000.
SURE = 3.1
HOUR = 3600.0

#: A measured point: seconds (of any clock), and the value.
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Slope:
    """The common slope of some series: *per_hour* with its standard *error*; *mean* of all values, *points* used."""

    per_hour: float
    error: float
    mean: float
    points: int

    def exceeds(self, limit: float) -> bool:
        """Whether the slope is above *limit* (per hour) beyond what chance explains."""
        return self.per_hour - SURE * self.error > limit


def fit(series: Iterable[Sequence[Point]], *, warmup: float = 0.0, stretch: float = 0.0) -> Slope | None:
    """Return the slope that all *series* have in common, by least squares with a level for each; None if unknown.

    The first *warmup* seconds of each series are left out, and points within *stretch* seconds become their mean.
    """
    used = [points for one in series if len(points := averaged(after(one, warmup), stretch)) >= 2]
    total = sum(len(points) for points in used)
    freedom = total - len(used) - 1
    if freedom < 1:
        return None
    centred = [pair for points in used for pair in _centred(points)]
    squares = sum(x * x for x, _ in centred)
    if squares == 0.0:
        return None
    slope = sum(x * y for x, y in centred) / squares
    rest = sum((y - slope * x) ** 2 for x, y in centred)
    error = math.sqrt(rest / freedom / squares)
    mean = sum(y for points in used for _, y in points) / total
    return Slope(slope * HOUR, error * HOUR, mean, total)


def after(points: Sequence[Point], warmup: float) -> list[Point]:
    """Return the *points* from *warmup* seconds after the first one on."""
    return [(at, value) for at, value in points if at - points[0][0] >= warmup]


def averaged(points: Sequence[Point], stretch: float) -> list[Point]:
    """Return the means of those *points* that are in the same *stretch* of seconds, counted from the first one."""
    if not stretch:
        return list(points)
    groups: dict[int, list[Point]] = {}
    for at, value in points:
        groups.setdefault(int((at - points[0][0]) // stretch), []).append((at, value))
    return [_mean(group) for group in groups.values()]


def _mean(points: Sequence[Point]) -> Point:
    return sum(at for at, _ in points) / len(points), sum(value for _, value in points) / len(points)


def _centred(points: Sequence[Point]) -> list[Point]:
    middle, level = _mean(points)
    return [(at - middle, value - level) for at, value in points]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one measure of one kind of process."""

    kind: str
    measure: str
    limit: float
    processes: int
    slope: Slope | None
    #: Whether the run was long enough to tell growth from what every program does at first.
    judged: bool = True

    @property
    def flat(self) -> bool:
        """Whether it does not grow, as far as that is judged. What could not be measured is not called flat."""
        return not self.judged or (self.slope is not None and not self.slope.exceeds(self.limit))

    def line(self) -> str:
        """Return one line of a table."""
        head = f"{self.kind:<12} {self.processes:>5}  {self.measure:<12}"
        if self.slope is None:
            return f"{head} too few points for a slope{': NOT KNOWN' if self.judged else ''}"
        numbers = f"{self.slope.mean:>12.1f} {self.slope.per_hour:>+11.2f} ± {self.slope.error:<9.2f} {self.limit:>8g}"
        return f"{head} {numbers}  {self._word}"

    @property
    def _word(self) -> str:
        if not self.judged:
            return "too short a run to judge"
        return "flat" if self.flat else "GROWS"


HEAD = f"{'kind':<12} {'count':>5}  {'measure':<12} {'mean':>12} {'per hour':>11}   {'error':<9} {'limit':>8}"


def judge(
    kind: str,
    series: Sequence[Mapping[str, Sequence[Point]]],
    limits: Mapping[str, float],
    *,
    warmup: float,
    stretch: float,
    judged: Callable[[str], bool] = lambda measure: True,
) -> list[Verdict]:
    """Return a verdict for each measure of *limits*; *series* has the points of each process by measure."""
    found = []
    for measure, limit in limits.items():
        slope = fit([one[measure] for one in series], warmup=warmup, stretch=stretch)
        found.append(Verdict(kind, measure, limit, len(series), slope, judged(measure)))
    return found
