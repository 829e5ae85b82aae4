"""Which VMs a lab is told to have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.dom0.vmlist import DEFAULT, load
from vminterface.errors import InvalidValue


def write(folder: Path, data: object) -> Path:
    file = folder / "vms.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def test_without_a_file_there_are_the_vms_of_the_shipped_pillar() -> None:
    assert load(None) == DEFAULT
    assert {vm.name for vm in DEFAULT} == {"work", "personal", "sys-net"}


def test_providers_come_before_their_clients(tmp_path: Path) -> None:
    listed = [{"name": "a", "netvm": "b"}, {"name": "b", "netvm": "c", "provides_network": True}, {"name": "c"}]
    assert [vm.name for vm in load(write(tmp_path, listed))] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("{", "vms.json"),
        ({}, "expected a list"),
        ([1], "expected an object"),
        ([{"netvm": ""}], "a name"),
        ([{"name": "-bad"}], ":0:name: "),
        ([{"name": "a", "color": "red"}], ":0:color: "),
        ([{"name": "a", "netvm": 1}], ":0:netvm: "),
        ([{"name": "a", "ip": "10.137.0"}], ":0:ip: "),
        ([{"name": "a"}, {"name": "a"}], "twice"),
        ([{"name": "a", "netvm": "b"}], "no netvm 'b'"),
        ([{"name": "a", "netvm": "b"}, {"name": "b", "netvm": "a"}], "circle"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(tmp_path: Path, data: object, fault: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        load(write(tmp_path, data))
    assert fault in str(caught.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="No such file"):
        load(tmp_path / "none.json")
