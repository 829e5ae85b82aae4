"""The fuzzer itself: it must be able to fail, whatever way a target goes wrong, and what it finds must be kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import bounds, inputs, replay
from tests.fuzz.__main__ import main
from tests.fuzz.pieces import Pieces, in_pairs, in_pieces, packed, plain, text_pairs
from tests.fuzz.target import bytes_target, text_target
from tests.fuzz.targets import TARGETS
from vminterface.errors import InvalidValue


def _slow(data: bytes) -> None:
    while data:
        time.sleep(0)


def _raise(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("parse", "expected"),
    [
        (lambda data: data.decode("ascii"), "UnicodeDecodeError"),
        (lambda data: _raise(InvalidValue("it has \x1b in it")), "not printable"),
        (lambda data: _raise(InvalidValue("it is not ASCII: é")), "not ASCII"),
        (lambda data: _raise(InvalidValue("x" * 10_000)), "a sentence of 10000 characters"),
        (lambda data: _raise(InvalidValue("a fault", "y" * 1000)), "a place of 1000 characters"),
        (lambda data: _raise(SystemExit(3)), "SystemExit"),
    ],
)
def test_what_a_parser_must_not_do_is_a_failure(parse: Any, expected: str) -> None:
    assert expected in replay.failure_of(bytes_target("x", parse), b"\xff")


def test_an_input_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SECONDS", 0.05)
    bounds.watch_time()
    assert "processor time" in replay.failure_of(bytes_target("x", _slow), b"x")
    assert replay.failure_of(bytes_target("x", _slow), b"") == ""


def test_a_value_that_does_not_come_back_is_a_failure() -> None:
    assert "is rendered as 'ab'" in replay.failure_of(text_target("x", str.upper, lambda text: "ab"), b"a")
    assert replay.failure_of(text_target("x", str.upper, str.lower), b"a") == ""


def test_an_error_is_no_failure_and_is_not_taken() -> None:
    target = bytes_target("x", lambda data: _raise(InvalidValue("'x' is not valid (expected y)")))
    assert replay.failure_of(target, b"x") == ""
    assert not target.run(b"x")


def test_what_was_found_is_kept_and_run_from_then_on(tmp_path: Path) -> None:
    target = bytes_target("x", lambda data: data.decode("ascii"), b"seed")
    assert replay.run([target], tmp_path) == (1, [])
    file = inputs.keep(target, b"\xff\0", found=True, corpus=tmp_path)
    assert file.name.startswith(inputs.FOUND)
    assert file.read_bytes() == b"\xff\0"
    count, failures = replay.run([target], tmp_path)
    assert count == 2
    assert f"x: {file.name}: UnicodeDecodeError" in failures[0]


@pytest.mark.parametrize("value", [None, True, 7, -7, 1.5, "é", b"x", [1, ["a"]], {"a": {"b": [None]}, 1: "x"}])
def test_plain_data_of_every_kind_can_be_an_input(value: Any) -> None:
    assert plain(packed(value)) == value


def test_any_bytes_are_plain_data_and_pieces() -> None:
    for data in (b"", b"\xff" * 500, bytes(range(256)), b"\x09\xff" * 300):
        plain(data)
        assert len([*Pieces(data).pieces()]) <= len(data)
    assert [*Pieces(in_pieces([b"a", b"", b"bc"])).pieces()] == [b"a", b"", b"bc"]
    assert text_pairs(in_pairs({"a": "1", "b": "x=y"})) == {"a": "1", "b": "x=y"}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_a_seed_and_is_called_like_a_folder(name: str) -> None:
    target = TARGETS[name]
    assert target.name.replace(".", "").replace("-", "").isalnum()
    assert any(target.run(seed) for seed in target.seeds)


def test_the_corpus_has_no_folder_without_a_target_and_is_small() -> None:
    folders = sorted(inputs.CORPUS.iterdir())
    assert {folder.name for folder in folders} <= {*TARGETS}
    files = [file for folder in folders for file in folder.iterdir()]
    assert all(inputs.name_of(file.read_bytes()) == file.name.removeprefix(inputs.FOUND) for file in files)
    assert sum(file.stat().st_size for file in files) < 3 << 20
    assert len(TARGETS) >= 45


def test_names_of_targets_may_stand_behind_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--seconds", "5", "wire.qfile", "values."]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert "wire.qfile" in names
    assert all(name == "wire.qfile" or name.startswith("values.") for name in names)
    assert main(["list", "none"]) == 2
