"""The pillar of the command line is read as Salt reads it, and what cannot be read is one sentence about the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.cli_pillar import load
from vminterface.dom0.settings import parse_pillar
from vminterface.errors import InvalidValue


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pillar.yaml"


def refused(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(InvalidValue) as caught:
        load(str(file))
    return str(caught.value)


@pytest.mark.parametrize("date", ["2020-01-02", "2020-13-45", "2020-01-02T03:04:05Z", "!!timestamp 2020-01-02"])
def test_a_date_is_the_text_that_it_is(file, date):
    file.write_text(f"qubes: {{vms: {{work: {{timezone: {date}}}}}}}")
    assert load(str(file)) == {"qubes": {"vms": {"work": {"timezone": date.split()[-1]}}}}


@pytest.mark.parametrize("vms", ["{work: {timezone: %s}}", '{"work": {"timezone": %s}}'])
def test_a_number_of_too_many_digits_is_a_fault_of_the_file(file, vms):
    said = refused(file, f'{{"qubes": {{"vms": {vms % ("9" * 5000)}}}}}')
    assert said.startswith(f"{file}:1: ")
    assert "digits" in said


@pytest.mark.parametrize("text", ["[" * 3000, "[" * 100000, "qubes: " + "[" * 3000 + "]" * 3000, "{a: " * 3000])
def test_what_is_nested_too_deeply_is_a_fault_of_the_file(file, text):
    assert refused(file, text) == f"{file}: is nested too deeply"


def test_a_key_that_is_there_twice_is_refused_with_its_line(file):
    said = refused(file, "qubes:\n  vms:\n    work:\n      debug: on\n    idle: {}\n    work: {}\n")
    assert said == f"{file}:6: the key 'work' is there twice"


def test_two_spellings_of_one_key_are_one_key(file):
    assert refused(file, "qubes:\n  on: 1\n  yes: 2\n") == f"{file}:3: the key 'yes' is there twice"


def test_a_key_of_json_that_is_there_twice_is_refused(file):
    said = refused(file, '{"qubes": {"vms": {"work": {"debug": true, "debug": false}}}}')
    assert said == f"{file}: the key 'debug' is there twice"


def test_what_a_mapping_takes_over_from_another_may_be_there_again(file):
    file.write_text(
        "qubes:\n"
        "  vms:\n"
        "    a: &a {debug: on, timezone: UTC}\n"
        "    b: &b {<<: *a, timezone: Asia/Tokyo}\n"
        "    c: {<<: *b, debug: off}\n"
    )
    assert load(str(file))["qubes"]["vms"] == {
        "a": {"debug": True, "timezone": "UTC"},
        "b": {"debug": True, "timezone": "Asia/Tokyo"},
        "c": {"debug": False, "timezone": "Asia/Tokyo"},
    }


def test_a_mapping_that_has_itself_in_it_is_a_fault(file):
    file.write_text("qubes: {vms: {work: &a {services: *a}}}")
    with pytest.raises(InvalidValue):
        parse_pillar(load(str(file)))
