"""Bounds of time that a busy machine widens: by what the kernel counts, and not without end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import stopwatch
from tests.support.stopwatch import Stopwatch


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float, float], None]:
    """Lets seconds pass, in some of which the kernel has seen a process that waits for a processor."""
    now, waited = 100.0, 5.0
    monkeypatch.setattr(stopwatch, "_PRESSURE", str(tmp_path / "cpu"))
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def let(seconds: float, waiting: float) -> None:
        nonlocal now, waited
        now, waited = now + seconds, waited + waiting
        (tmp_path / "cpu").write_text(
            f"some avg10=0.00 avg60=0.00 avg300=0.00 total={waited * 1e6:.0f}\nfull total=0\n"
        )

    let(0, 0)
    return let


def test_what_takes_as_long_as_expected_is_good(passes: Callable[[float, float], None]) -> None:
    watch = Stopwatch()
    passes(1.5, 0)
    watch.check(2, least=1)


@pytest.mark.parametrize(("took", "waited"), [(0.9, 0), (2.5, 0), (2.5, 0.4), (16, 16)])
def test_what_ends_too_soon_or_too_late_is_not(
    passes: Callable[[float, float], None], took: float, waited: float
) -> None:
    watch = Stopwatch()
    passes(took, waited)
    with pytest.raises(AssertionError, match=f"took {took:.2f} s"):
        watch.check(2, least=1)


def test_the_time_for_which_processors_were_busy_is_not_counted(passes: Callable[[float, float], None]) -> None:
    watch = Stopwatch()
    passes(2.5, 0.6)
    watch.check(2)


@pytest.mark.parametrize(("load", "good"), [(100.0, True), (0.1, False)])
def test_where_the_kernel_counts_none_a_high_load_is_taken_for_it(
    passes: Callable[[float, float], None], monkeypatch: pytest.MonkeyPatch, load: float, good: bool
) -> None:
    monkeypatch.setattr(stopwatch, "_PRESSURE", "/no/such/file")
    monkeypatch.setattr("os.getloadavg", lambda: (load, load, load))
    watch = Stopwatch()
    passes(2.5, 0)
    if good:
        watch.check(2)
    else:
        with pytest.raises(AssertionError):
            watch.check(2)
