"""The common form of what benchmarks measure: the table, the exit status, and what the run of all of them gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import rows
from benchmarks.__main__ import names
from benchmarks.rows import Row, report


def test_a_bound_is_the_largest_or_the_smallest_that_is_desired() -> None:
    assert Row("a", 1.5, 1.5).met
    assert not Row("a", 1.6, 1.5).met
    assert Row("a", 1.6, 1.5, at_least=True).met
    assert not Row("a", 1.4, 1.5, at_least=True).met


def test_one_that_is_missed_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Row("time", 2.0, 3.0, "s"), Row("speed", 5.0, 4.0, at_least=True)]) == 0
    assert report([Row("time", 2.0, 3.0, "s"), Row("speed", 3.0, 4.0, at_least=True)]) == 1
    assert "  time        2 s   ≤ 3 s  met\n" in capsys.readouterr().out


def test_who_runs_all_gets_the_rows_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(rows.FILE_VARIABLE, str(tmp_path / "rows"))
    some = [Row("a", 1.0, 2.0), Row("b", 3.0, 2.0, "ms", at_least=True)]
    report(some[:1])
    report(some[1:])
    assert rows.read(str(tmp_path / "rows")) == some


def test_every_benchmark_gives_rows() -> None:
    folder = Path(rows.__file__).parent
    assert len(names()) > 14
    assert [name for name in names() if "report(" not in (folder / f"{name}.py").read_text()] == []
