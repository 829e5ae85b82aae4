"""The pillar of the command line is read as Salt reads it, and what cannot be read is one sentence about the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.garbage import left_behind
from vminterface.cli import pillaryaml
from vminterface.cli.pillar import load
from vminterface.dom0.desired.settings import parse_pillar
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
def test_a_date_is_the_text_that_it_is(file: Path, date: str) -> None:
    file.write_text(f"qubes: {{vms: {{work: {{timezone: {date}}}}}}}")
    assert load(str(file)) == {"qubes": {"vms": {"work": {"timezone": date.split()[-1]}}}}


@pytest.mark.parametrize("vms", ["{work: {timezone: %s}}", '{"work": {"timezone": %s}}'])
def test_a_number_of_too_many_digits_is_a_fault_of_the_file(file: Path, vms: str) -> None:
    said = refused(file, f'{{"qubes": {{"vms": {vms % ("9" * 5000)}}}}}')
    assert said.startswith(f"{file}:1: ")
    assert "digits" in said


@pytest.mark.parametrize("text", ["[" * 3000, "[" * 100000, "qubes: " + "[" * 3000 + "]" * 3000, "{a: " * 3000])
def test_what_is_nested_too_deeply_is_a_fault_of_the_file(file: Path, text: str) -> None:
    assert refused(file, text) == f"{file}: is nested too deeply"


def test_a_key_that_is_there_twice_is_refused_with_its_line(file: Path) -> None:
    said = refused(file, "qubes:\n  vms:\n    work:\n      debug: on\n    idle: {}\n    work: {}\n")
    assert said == f"{file}:6: the key 'work' is given twice"


def test_two_spellings_of_one_key_are_one_key(file: Path) -> None:
    assert refused(file, "qubes:\n  on: 1\n  yes: 2\n") == f"{file}:3: the key 'yes' is given twice"


def test_a_key_of_json_that_is_there_twice_is_refused(file: Path) -> None:
    said = refused(file, '{"qubes": {"vms": {"work": {"debug": true, "debug": false}}}}')
    assert said == f"{file}: the key 'debug' is given twice"


def test_what_a_mapping_takes_over_from_another_may_be_there_again(file: Path) -> None:
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


@pytest.mark.parametrize("key", ["!!map", "!!set", "!!seq", "!!map {}"])
def test_what_cannot_be_a_key_is_refused_with_its_line(file: Path, key: str) -> None:
    assert refused(file, f"a: b\n{key} : x\n").startswith(f"{file}:2: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!!bool maybe", "'maybe' is not a valid bool"),
        ("!!int x", "'x' is not a valid int"),
        ("!!int ''", "'' is not a valid int"),
        ("0_", "'_' is not a valid int"),
        ("!!float x", "'x' is not a valid float"),
    ],
)
def test_a_scalar_that_is_not_what_its_tag_says_is_refused_with_its_line(file: Path, text: str, said: str) -> None:
    assert refused(file, f"qubes:\n  vms: {{work: {{debug: {text}}}}}").startswith(
        f"{file}:2: is not valid YAML: {said}"
    )


@pytest.mark.parametrize("number", ["22:30", "1:30", "-1:30", "1:30.5", "10:20:30:40:50:06", "!!int '1:30'"])
@pytest.mark.parametrize("top", ["qubes", "local: {qubes"])
def test_a_number_of_base_60_is_refused_below_qubes(file: Path, number: str, top: str) -> None:
    said = refused(file, f"{top}:\n  {{vms: {{work: {{timeout: {number}}}}}}}{'}' * top.count('{')}\n")
    text = number.split()[-1].strip("'")
    assert said == (
        f"{file}:2: YAML reads {text} as a number of base 60 (quote it where text is meant; a range of ports has a '-')"
    )


@pytest.mark.parametrize("text", ["'22:30'", "0:30 ", "1:60", "00:16:3e:5e:6c:00", "10.0.0.1"])
def test_what_only_looks_like_one_is_text(file: Path, text: str) -> None:
    file.write_text(f"other: 1:30\nqubes: {{a: {text}}}")
    assert load(str(file))["qubes"]["a"] == text.strip("' ")


@pytest.mark.parametrize("character", ["\x1b", "\0", "\x7f", "\x9b"])
def test_a_control_character_is_one_line_with_its_line_number(file: Path, character: str) -> None:
    said = refused(file, f"qubes:\n  vms:\n    work: {{timezone: U{character}TC}}\n")
    assert said.startswith(f"{file}:3: is not valid YAML: the character \\x")
    assert said.isprintable()


@pytest.mark.parametrize("vms", [{"work": {"timezone": "*" * 10}}, {"work": {"network": {"dns": ["*" * 10]}}}])
def test_a_masked_pillar_is_refused_with_the_way_to_have_it_unmasked(file: Path, vms: dict[str, Any]) -> None:
    said = refused(file, json.dumps({"local": {"qubes": {"vms": vms}}}))
    assert said.startswith(f"{file}: its values are masked")
    assert "unmask=True" in said


def test_json_of_salt_may_have_pairs_of_escapes(file: Path) -> None:
    file.write_text(json.dumps({"local": {"qubes": {"vms": {}}, "other": "\U0001f600"}}))
    assert load(str(file))["other"] == "\U0001f600"


def test_a_mapping_that_has_itself_in_it_is_a_fault(file: Path) -> None:
    file.write_text("qubes: {vms: {work: &a {services: *a}}}")
    with pytest.raises(InvalidValue):
        parse_pillar(load(str(file)))


@pytest.mark.parametrize(
    "text", ["qubes: {vms: {{ vms }}}\n", "qubes:\n{% for vm in all %}\n  vms: {}\n{% endfor %}\n"]
)
def test_a_file_with_jinja_is_said_to_be_salts_to_render(tmp_path: Any, text: Any) -> None:
    (tmp_path / "vms.sls").write_text(text)
    with pytest.raises(
        InvalidValue, match=r"is not valid YAML: .* \(only Salt reads its Jinja; expected the output of salt-call"
    ):
        load(str(tmp_path / "vms.sls"))


def test_words_of_a_command_line_that_are_no_utf_8_are_a_fault() -> None:
    with pytest.raises(InvalidValue, match=r"^monitors: '\[\\x88\]' is not UTF-8 text"):
        pillaryaml.load("monitors", "[\udc88]")


def test_a_pillar_that_is_read_again_leaves_no_class_behind(file: Path) -> None:
    file.write_text("qubes: {vms: {work: {timezone: UTC}}}")
    assert left_behind(lambda: load(str(file))) == {}
