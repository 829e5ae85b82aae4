"""The command reads YAML as Salt's renderer does, side by side: the same values and types, the same refusals."""

from __future__ import annotations

import pytest
from salt.exceptions import SaltRenderError
from salt.renderers import yaml as renderer

from tests.support import seeds
from vminterface.cli import pillaryaml
from vminterface.errors import InvalidValue

#: Scalars in which YAML, its readers and Salt do not agree.
SCALARS = [
    '0', '00', '000', '-0', '+0', '01', '010', '024', '0100', '0443', '08', '09', '080', '0o17', '0x1F', '0x', '0x_',
    '0b101', '0b2', '0b', '0X1f', '0B1', '-010', '+010', '-024', '1_000', '0_1', '0_', '_1', '__', '1e3', '1.5e3',
    '1e+3', '1.0e+3', '1.0e3', '.5', '5.', '-.5', '+.5', '.', '..', '.inf', '-.inf', '+.Inf', '.nan', '.NaN', '0.10',
    '010.5', '1_0.5', '0_0.1', '1__0', '0.0', '00.5', '~', 'null', 'Null', 'NULL', 'nUll', 'on', 'On', 'ON', 'oN',
    'off', 'yes', 'Yes', 'y', 'Y', 'no', 'No', 'n', 'true', 'TRUE', 'tRue', 'false', '2020-01-02', '2020-13-45',
    '2020-01-02T03:04:05Z', '12-34', '10.137.0.12', '255.255.255.0', '00:16:3e:5e:6c:00', 'fd09::1', '::1', '1:30',
    '22:30', '1:60', '0:30', '00:30', '190:20:30', '-1:30', '1:30.5', '10:20:30:40:50:06', '1:2:3', '1_0:30', '!!int',
    '5', '!!int""', '!!float"x"', '"!!int', '010"', '"!!bool', 'maybe"', "'010'", '"010"', '=', '<<',
]  # fmt: skip
TAGGED = [
    '!!int 010', "!!int '010'", '!!int x', "!!int ''", '!!int [1]', '!!int {=: 5}', '!!float 1', '!!float x',
    '!!bool on', '!!bool maybe', '!!null x', '!!str 010', '!!str [a]', '!!timestamp 2020-01-02', '!!timestamp x',
    '!!timestamp [a]', '!!binary YWI=', '!!seq [a]', '!!seq x', '!!map {a: b}', '!!map x', '!!map [a]', '!!set {a, b}',
    '!!omap {a: b}', '!!omap [a: b]', '!!pairs [a: b]', '!!python/unicode x', '!!python/name:os.system x', '!own x',
    '!!int 99999999999999999999999999', '{=: 5}', '!!str {=: 5}',
]  # fmt: skip
#: Whole files.
FILES = [
    '', '#', '---', '...', 'a', '[]', '- a', 'a: b', 'a: b\na: c', 'on: 1\nyes: 2', '1: a\n01: b', '010: a\n10: b',
    '? [a]\n: b', '? {a: b}\n: c', '{{ a }}', 'a: {{ b }}', '!!map : 1', '!!set : 1', '!!seq : 1', '~: 1\nnull: 2',
    'a: &x {b: c}\nd: *x', 'a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}', 'a: &x {b: 1}\nc: &y {b: 2}\nd: {<<: [*x, *y]}',
    'a: {<<: b}', 'a: {<<: [b]}', 'a: &x {b: 1}\nc: &y {e: 2}\nd: {<<: [*x, *y], f: 3}',
    'a: &x {b: 1}\nc: &y {<<: *x, b: 2}\nd: {<<: *y}', 'a: {<<: {b: 1}, b: 1}', 'a: {<<: {b: 1}, <<: {c: 1}}',
    'a: {<<: {b: 1}, <<: {b: 1}}', 'a: *x', 'a: &x {*x : 1}', 'a:\tb', '\ta: b', 'a: b\n\tc: d', 'a: b: c',
    'a: |\n  b\n  c', 'a: >-\n  b\n\n  c', "a: 'b", 'a: "b', 'a: "\\x41"', 'a: "\\q"', 'a: "\\ud83d\\ude00"',
    'a: b\x1b', 'a: b\x7f', 'a: b\x85c', 'a: b\x00', '%YAML 1.1\n---\na: b', '%YAML 1.2\n---\na: 010',
    'a: b\n---\nc: d', 'a: [1, 2', 'a: {b', 'a: @b', 'a: `b', 'a: %b', 'a: - b', 'a: ,b', '[a, b]: c', 'a: [b: c]',
    '\ufeffa: b', 'a: b #c', 'a: b#c', 'a : b', 'a:b', '- a\nb: c', '{"a": 010, "b": 1e5, "c": null}', 'a: b\r\nc: d',
]  # fmt: skip


def random_scalars() -> list[str]:
    """Return texts of the characters that numbers and their like are made of."""
    chooser = seeds.chance("YAML scalars")
    return ["".join(chooser.choices("0012789_.:-+exbo", k=chooser.randint(1, 8))) for _ in range(450)]


TEXTS = [*(f"x: {scalar}" for scalar in [*SCALARS, *TAGGED, *random_scalars()]), *FILES]


@pytest.fixture(autouse=True)
def options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderer, "__opts__", {}, raising=False)


def as_salt(text: str) -> object:
    """Return what Salt makes of *text*; ``refused`` for whatever it raises, be it meant or not."""
    try:
        return renderer.render(text)
    except Exception:
        return "refused"


def plain(value: object) -> object:
    """Return *value* with Salt's own mappings as dicts, so that its text shows every value with its type."""
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


def as_ours(text: str) -> object:
    try:
        return pillaryaml.load("file", text) or {}
    except InvalidValue as error:
        said = str(error)
    assert said.startswith("file:")
    assert said.isprintable()
    return "refused"


def test_there_are_enough_texts() -> None:
    assert len(set(TEXTS)) > 500


def test_each_text_has_the_meaning_that_it_has_to_salt() -> None:
    differ = {}
    for text in TEXTS:
        salt, ours = as_salt(text), as_ours(text)
        if repr(plain(salt)) != repr(plain(ours)):
            differ[text] = (salt, ours)
    assert differ == {}


@pytest.mark.parametrize(("text", "number"), [("024", 24), ("0100", 100), ("0443", 443), ("-010", -8), ("08", "08")])
def test_zeros_in_front_of_a_number_are_passed_over(text: str, number: int | str) -> None:
    assert as_ours(f"x: {text}") == as_salt(f"x: {text}") == {"x": number}


def test_salt_reads_a_range_of_ports_to_base_60_and_the_command_refuses_that_in_a_pillar_of_vms() -> None:
    text = "other: 1:30\nqubes:\n  vms:\n    work: {timeout: 1:30}\n"
    assert renderer.render(text)["qubes"]["vms"]["work"]["timeout"] == 90
    with pytest.raises(InvalidValue, match="file:4: YAML reads 1:30 as a number of base 60"):
        pillaryaml.load("file", text)


def test_salt_refuses_a_fault_of_the_file_too() -> None:
    with pytest.raises(SaltRenderError):
        renderer.render("a: [1, 2")
