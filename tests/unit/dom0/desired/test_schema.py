"""The schema of the pillar takes whatever the parser takes, and refuses most of what the parser refuses by its form."""

from __future__ import annotations

import copy
import json
import random
import re
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support import seeds
from tests.support.pillars import VALID, mutations, one_field_each
from vminterface.cli import pillaryaml
from vminterface.dom0.desired import schema
from vminterface.dom0.desired.fields import FIELDS
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.dom0.desired.settings import OPTIONS, parse_pillar
from vminterface.errors import InvalidValue

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "pillar/vminterface.schema.json"
SCHEMA = schema.of_pillar()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
#: Words of a pattern that Python has and ECMA-262 has not, or that mean something else there.
NOT_ECMA = re.compile(r"\(\?[aiLmsux#P<]|\\[AZzabdDwWpP]")
BLOCK = re.compile(r"^```yaml\n(qubes:\n.*?)^```$", re.MULTILINE | re.DOTALL)


def accepted(pillar: Any) -> bool:
    try:
        parse_pillar(pillar)
    except InvalidValue:
        return False
    return True


def valid(pillar: Any) -> bool:
    return bool(VALIDATOR.is_valid(pillar))


def why(pillar: Any) -> str:
    return "; ".join(f"{error.json_path}: {error.message[:200]}" for error in VALIDATOR.iter_errors(pillar))


def test_it_is_a_schema_of_the_draft_that_it_names() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_shipped_file_is_what_the_tables_say() -> None:
    assert json.loads(SHIPPED.read_text()) == SCHEMA, "run: make pages"


def test_it_has_every_field_of_the_parser_and_says_what_each_does() -> None:
    fields = SCHEMA["$defs"]["vm"]["properties"]
    assert set(fields) == {*FIELDS, *PERSISTENT_FIELDS, *OPTIONS}
    assert [name for name, one in fields.items() if not one.get("description")] == []


def patterns(form: Any) -> list[str]:
    if isinstance(form, list):
        return [one for part in form for one in patterns(part)]
    if not isinstance(form, dict):
        return []
    own = [form["pattern"]] if isinstance(form.get("pattern"), str) else []
    own += list(form.get("patternProperties", {}))
    return own + [one for part in form.values() for one in patterns(part)]


def test_its_patterns_mean_the_same_to_editors_as_to_python() -> None:
    found = patterns(SCHEMA)
    assert len(found) > 50
    assert [one for one in found if NOT_ECMA.search(one)] == []


def test_the_shipped_example_and_every_pillar_of_the_docs_are_valid() -> None:
    pages = (text for page in sorted((ROOT / "docs").rglob("*.md")) for text in BLOCK.findall(page.read_text()))
    texts = [(ROOT / "pillar/qubes/init.sls").read_text(), *pages]
    assert len(texts) > 5
    for text in texts:
        pillar = pillaryaml.load("text", text)
        assert accepted(pillar), text
        assert valid(pillar), why(pillar)


def test_the_shipped_example_names_its_schema_for_editors() -> None:
    line = (ROOT / "pillar/qubes/init.sls").read_text().splitlines()[0]
    place = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    assert place is not None
    assert (ROOT / "pillar/qubes" / place[1]).resolve() == SHIPPED


@pytest.mark.parametrize("field", sorted({*FIELDS, *PERSISTENT_FIELDS, *OPTIONS}))
def test_whatever_a_field_may_be_is_valid_and_what_it_may_not_be_mostly_is_not(field: str) -> None:
    chance, refused, unnoticed = Random(18), 0, []
    samples = one_field_each(field)
    assert len(samples) >= 3, field
    for sample in samples:
        assert accepted(sample), sample
        assert valid(sample), (sample, why(sample))
    for pillar in [one for sample in samples for one in mutations(chance, sample, 12, field)]:
        if accepted(pillar):
            assert valid(pillar), (pillar, why(pillar))
        else:
            refused += 1
            unnoticed += [pillar] if valid(pillar) else []
    assert len(unnoticed) <= refused * 0.35, unnoticed


def test_of_six_hundred_mutated_pillars_none_is_refused_that_the_parser_takes_and_most_faults_are_found() -> None:
    chance = random.Random(2020)
    taken = refused = found = 0
    for pillar in mutations(chance, VALID, 600):
        if accepted(pillar):
            taken += 1
            assert valid(pillar), (pillar, why(pillar))
        else:
            refused += 1
            found += not valid(pillar)
    assert taken >= 100
    assert refused >= 300
    assert found >= refused * SHARE, (found, refused)


#: Of what the parser refuses of these, how much the schema refuses too; the rest hangs together between fields.
SHARE = 0.95


def test_no_pillar_of_the_day_is_taken_by_the_parser_and_refused_by_the_schema() -> None:
    runs = seeds.rounds(600)
    taken = 0
    for pillar in mutations(seeds.chance("pillars and their schema"), VALID, runs):
        if accepted(pillar):
            taken += 1
            assert valid(pillar), (pillar, why(pillar), seeds.replay())
    assert taken >= runs // 12


@pytest.mark.parametrize(
    "change",
    [
        {"nosuch": 1},
        {"timezone": 5},
        {"type": "Appvm"},
        {"services": {"cups": "maybe"}},
        {"services": {"a b": True}},
        {"network": {"ip": "10.137.0.256", "gateway": "10.137.0.5"}},
        {"network": {"ip": "10.137.0.12"}},
        {"network": {"ip": "10.137.0.12", "gateway": "10.137.0.5", "mtu": 1500}},
        {"monitors": [{"width": 0, "height": 1, "x": 0, "y": 0}]},
        {"vcpus": 513},
        {"features": {"gui-max-clipboard-size": 10}},
        {"features": {"service.cups": True}},
        {"firewall": {"rules": []}},
        {"firewall": {"policy": "reject"}},
        {"label": "default"},
        {"timeout": 0},
        {"optional": ["label"]},
        {"netvm": "dom0"},
    ],
)
def test_unknown_fields_types_words_and_ranges_are_refused(change: dict[str, Any]) -> None:
    pillar = {"qubes": {"vms": {"work": change}}}
    assert not accepted(pillar)
    assert not valid(pillar)


@pytest.mark.parametrize("top", [{}, {"qubes": {}}, {"qubes": {"vms": []}}, {"qubes": {"vm": {}, "vms": {}}}])
def test_a_pillar_without_a_list_of_vms_is_refused(top: dict[str, Any]) -> None:
    assert not accepted(top)
    assert not valid(top)


def test_the_words_of_yaml_1_1_are_valid_as_editors_read_them() -> None:
    text = "qubes:\n  vms:\n    work: {debug: on, services: {cups: no}, persist: yes, netvm: off, network: off}\n"
    assert accepted(pillaryaml.load("text", text))
    as_texts = yaml.load(text, yaml.BaseLoader)
    assert as_texts["qubes"]["vms"]["work"]["debug"] == "on"
    assert valid(as_texts), why(as_texts)


def test_other_formulas_may_have_keys_beside_it() -> None:
    pillar: dict[str, Any] = copy.deepcopy(VALID)
    pillar["users"] = {"a": 1}
    pillar["qubes"] |= {"type": "template", "features": [1], "tags": []}
    assert accepted(pillar)
    assert valid(pillar)
