"""A soak is good only where nothing is wrong, nothing is left and everything is flat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak.result import Result
from tests.soak.slope import Slope, Verdict

FLAT = Verdict("agent", "threads", 1.0, 3, Slope(0.1, 0.1, 5.0, 100))
GROWS = Verdict("watcher", "descriptors", 1.0, 1, Slope(30.0, 0.1, 12.0, 100))
GOOD = Result("R2", "20261129", 50, 600.0, {"set": 7}, {"hang": 3}, [], [], [], [], [FLAT])


def test_a_good_one_says_so_with_its_seed() -> None:
    assert GOOD.ok
    assert GOOD.text().splitlines()[0] == "== soak on R2: 50 VMs, 600 s, SEED=20261129"
    assert GOOD.text().splitlines()[-1] == "good"


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        (replace(GOOD, wrong=["a lie"]), "wrong reports: 1"),
        (replace(GOOD, unconverged=["vm1"]), "not as pushed at the end: 1"),
        (replace(GOOD, leftovers=["process 7"]), "left behind: 1"),
        (replace(GOOD, lab=["restart vm1"]), "what the lab could not do: 1"),
        (replace(GOOD, verdicts=[FLAT, GROWS]), GROWS.line()),
        (replace(GOOD, verdicts=[]), "wrong reports: 0"),
    ],
)
def test_whatever_is_wrong_makes_it_no_good(bad: Result, line: str) -> None:
    assert not bad.ok
    assert line in bad.text().splitlines()
    assert bad.text().splitlines()[-1] == "NOT GOOD"
