"""A pillar that is missing or misspelt is an error that says so; what others keep below ``qubes`` is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vminterface.dom0.desired import pillarroot
from vminterface.dom0.desired.settings import mentions, parse_pillar
from vminterface.errors import InvalidValues

EXPECTED = "(expected a mapping of VMs to their settings, {} for no VMs)"
SOURCE = "the pillar of minion dom0"
#: As the ext_pillars of Qubes' own formulas give it to dom0 and to a VM.
QUBES = {"type": "admin", "template": "fedora", "netvm": "sys-firewall", "tags": ["a"], "features": {"gui": "1"}}
VM = {"timezone": "Europe/Warsaw", "services": {"cups": True}}


@pytest.fixture(autouse=True)
def no_qubes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pillarroot, "QUBES_RELEASE", str(tmp_path / "qubes-release"))


def faults(pillar: dict[str, Any], **how: str) -> dict[str, str]:
    with pytest.raises(InvalidValues) as caught:
        parse_pillar(pillar, source=SOURCE, **how)
    return {fault.where: str(fault) for fault in caught.value.errors}


@pytest.mark.parametrize(
    "pillar",
    [{}, {"qubes": None}, {"qubes": {}}, {"qubes": {"vms": None}}, {"qubes": {"defaults": VM}}, {"qubes": QUBES}],
)
@pytest.mark.parametrize("how", [{}, {"vm": "work"}], ids=["all", "one-vm"])
def test_a_pillar_without_a_list_of_vms_is_an_error_that_says_where_it_was_looked_for(
    pillar: dict[str, Any], how: dict[str, str]
) -> None:
    assert faults(pillar, **how) == {"qubes:vms": f"is not in {SOURCE} {EXPECTED}"}
    with pytest.raises(InvalidValues, match="qubes:vms: is not in"):
        mentions(pillar, "monitors")


def test_on_qubes_the_error_gives_the_command_that_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "qubes-release").touch()
    assert faults({"qubes": {"type": "admin"}})["qubes:vms"].endswith(
        f"{EXPECTED}; the pillar may not be enabled: qubesctl top.enable vminterface pillar=true"
    )


@pytest.mark.parametrize("root", ["qube", "Qubes", "qubes "])
def test_a_misspelt_root_is_named(root: str) -> None:
    assert faults({root: {"vms": {}}}) == {"qubes:vms": f"is not in {SOURCE}, which has '{root}' {EXPECTED}"}


@pytest.mark.parametrize("name", ["vm", "VMs", "Vms", "vmz", "vsm", "vms_", "dvms"])
@pytest.mark.parametrize("rest", [{}, {"vms": {}}], ids=["alone", "beside-it"])
def test_near_misses_of_vms_are_refused_with_the_suggestion(name: str, rest: dict[str, Any]) -> None:
    assert faults({"qubes": {name: {"work": VM}, **rest}}) == {f"qubes:{name}": "unknown field (did you mean 'vms'?)"}


@pytest.mark.parametrize("name", ["default", "Defaults", "defualts", "defaut"])
def test_near_misses_of_defaults_are_refused_with_the_suggestion(name: str) -> None:
    found = faults({"qubes": {name: {"timezone": "UTC"}, "vms": {}}})
    assert found == {f"qubes:{name}": "unknown field (did you mean 'defaults'?)"}


def test_a_vm_directly_below_the_root_is_refused_with_its_place() -> None:
    found = faults({"qubes": {"work": {**VM, "tiemzone": "UTC"}, "machines": {"work": VM, "idle": {"debug": True}}}})
    assert found == {
        "qubes:work": "settings of a VM in the wrong place (expected below qubes:vms:work)",
        "qubes:machines": "settings of VMs in the wrong place (expected below qubes:vms)",
    }


@pytest.mark.parametrize(
    "others",
    [
        QUBES,
        {"features": {"debug": "1", "type": "x"}},
        {"default_netvm": "sys-net", "default_user": "user"},
        {"users": {"joe": {"shell": "/bin/sh"}}, "update": {"timeout": 5}, 5: {}, "empty": {}, "list": [VM]},
    ],
)
def test_what_others_keep_there_is_left_alone(others: dict[str, Any]) -> None:
    assert [one.vm for one in parse_pillar({"qubes": {**others, "vms": {"work": VM}}})] == ["work"]


def test_a_pillar_that_salt_could_not_compile_is_an_error_even_if_it_lists_vms() -> None:
    pillar = {"qubes": {"vms": {"work": VM}}, "_errors": ["Rendering SLS 'own' failed: \x1b[0m", "Specified SLS 'x'"]}
    with pytest.raises(InvalidValues) as caught:
        parse_pillar(pillar, source=SOURCE)
    assert str(caught.value).splitlines() == [
        f"qubes: Salt could not compile {SOURCE}: Rendering SLS 'own' failed: \\x1b[0m",
        f"qubes: Salt could not compile {SOURCE}: Specified SLS 'x'",
    ]


def test_an_error_of_salts_may_be_of_any_kind() -> None:
    with pytest.raises(InvalidValues, match="Salt could not compile"):
        parse_pillar({"qubes": {"vms": {}}, "_errors": [[16**5000], 16**5000]})


def test_faults_of_the_top_come_with_those_below() -> None:
    found = faults({"qubes": {"default": {}, "defaults": [], "vms": {"work": {"debug": "perhaps"}}}})
    assert set(found) == {"qubes:default", "qubes:defaults", "qubes:vms:work:debug"}
