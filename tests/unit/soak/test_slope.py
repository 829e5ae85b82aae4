"""What grows is found, what is flat is let be: also over restarts, with a warm-up, and in noise."""

from __future__ import annotations

import random

import pytest

from tests.soak.slope import Slope, Verdict, after, averaged, fit, judge

LIMITS = {"memory KiB": 512.0}


def line(per_hour: float, *, level: float = 0.0, seconds: int = 600, begin: float = 0.0) -> list[tuple[float, float]]:
    return [(begin + at, level + per_hour * at / 3600) for at in range(0, seconds, 5)]


def noisy(points: list[tuple[float, float]], seed: int, size: float) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [(at, value + chance.gauss(0, size)) for at, value in points]


def test_a_line_has_its_own_slope_and_no_error() -> None:
    found = fit([line(360.0, level=100.0)])
    assert found is not None
    assert found.per_hour == pytest.approx(360.0)
    assert found.error == pytest.approx(0.0, abs=1e-6)
    assert found.points == 120


def test_each_process_has_a_level_of_its_own() -> None:
    """One that was started later and takes more is no growth."""
    found = fit([line(0.0, level=100.0), line(0.0, level=500.0, begin=600.0)])
    assert found is not None
    assert found.per_hour == pytest.approx(0.0)
    assert found.mean == pytest.approx(300.0)


def test_short_lives_show_a_slope_together() -> None:
    found = fit([line(720.0, level=1000.0 - 7 * n, seconds=60, begin=100.0 * n) for n in range(20)])
    assert found is not None
    assert found.per_hour == pytest.approx(720.0)


def test_the_warm_up_is_left_out_of_each_life() -> None:
    def life(begin: float) -> list[tuple[float, float]]:
        return [(begin + at, min(at, 100.0)) for at in range(0, 600, 5)]

    lives = [life(0.0), life(700.0)]
    warm, cold = fit(lives, warmup=100.0), fit(lives)
    assert warm is not None
    assert cold is not None
    assert warm.per_hour == pytest.approx(0.0)
    assert cold.per_hour > 100


def test_points_of_one_stretch_are_their_mean() -> None:
    assert averaged([(10.0, 1.0), (12.0, 3.0), (20.0, 5.0)], 10.0) == [(11.0, 2.0), (20.0, 5.0)]
    assert averaged([(10.0, 1.0), (12.0, 3.0)], 0.0) == [(10.0, 1.0), (12.0, 3.0)]
    assert averaged([], 10.0) == []


def test_the_warm_up_counts_from_the_first_point() -> None:
    assert after([(100.0, 1.0), (104.0, 2.0), (105.0, 3.0)], 5.0) == [(105.0, 3.0)]
    assert after([], 5.0) == []


@pytest.mark.parametrize("series", [[], [[]], [[(0.0, 1.0)]], [[(0.0, 1.0), (1.0, 2.0)]], [[(1.0, 1.0)] * 5]])
def test_too_few_points_have_no_slope(series: list[list[tuple[float, float]]]) -> None:
    assert fit(series) is None


@pytest.mark.parametrize("seed", range(20))
def test_noise_around_a_level_is_flat(seed: int) -> None:
    """Twelve minutes of a value that goes up and down by a tenth of the limit."""
    found = fit([noisy(line(0.0, level=9000.0, seconds=720), seed, 50.0)], stretch=30.0)
    assert found is not None
    assert not found.exceeds(512.0)


@pytest.mark.parametrize("seed", range(20))
def test_growth_in_noise_is_found(seed: int) -> None:
    found = fit([noisy(line(2000.0, level=9000.0, seconds=720), seed, 50.0)], stretch=30.0)
    assert found is not None
    assert found.exceeds(512.0)


def test_a_slope_at_the_limit_is_within_it() -> None:
    assert not Slope(512.0, 0.0, 1.0, 9).exceeds(512.0)
    assert Slope(512.1, 0.0, 1.0, 9).exceeds(512.0)
    assert not Slope(600.0, 40.0, 1.0, 9).exceeds(512.0)


def test_a_verdict_says_which_kind_grows() -> None:
    (grows,) = judge("agent", [{"memory KiB": line(4000.0)}], LIMITS, warmup=0.0, stretch=0.0)
    (flat,) = judge("watcher", [{"memory KiB": line(10.0)}], LIMITS, warmup=0.0, stretch=0.0)
    assert not grows.flat
    assert grows.line().endswith("GROWS")
    assert "agent" in grows.line()
    assert flat.flat
    assert flat.line().endswith("flat")


def test_what_was_not_measured_is_not_called_flat() -> None:
    verdict = Verdict("agent", "threads", 1.0, 3, None)
    assert not verdict.flat
    assert "NOT KNOWN" in verdict.line()


def test_a_short_run_is_shown_and_not_judged() -> None:
    (verdict,) = judge(
        "agent", [{"memory KiB": line(4000.0)}], LIMITS, warmup=0.0, stretch=0.0, judged=lambda measure: False
    )
    assert verdict.flat
    assert verdict.line().endswith("too short a run to judge")
    assert "+4000" in verdict.line()
