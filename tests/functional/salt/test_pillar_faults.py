"""A pillar with faults: each is one line ``path: message``, all come at once, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import StateResult

from tests.support.dom0 import Dom0

#: What no field takes.
NEVER = {
    "a list in a list": [[1]],
    "a path upwards": "../../etc/shadow",
    "two lines": "a\nb",
    "a NUL": "a\0b",
    "an escape": "\x1b[2J",
    "not ASCII": "Łódź/ß",
    "spaces": "a b",
    "too long": "x" * 5000,
    "a fraction": 1.5,
    "a big number": 10**30,
    "a negative number": -1,
}


def _in_network(field: str) -> Callable[[Any], dict[str, Any]]:
    return lambda v: {"network": {"ip": "10.137.0.12", "gateway": "10.137.0.5", field: v}}


#: Fields of a VM, what else each refuses, and how to get at the place in it.
TEXT = {"a number": 7, "a boolean": True, "empty": "", "a mapping": {"a": "b"}}
FIELDS: dict[str, tuple[Callable[[Any], dict[str, Any]], dict[str, Any]]] = {
    "timezone": (lambda v: {"timezone": v}, TEXT),
    "type": (lambda v: {"type": v}, {**TEXT, "unknown": "NotAVM"}),
    "updateable": (lambda v: {"updateable": v}, {"perhaps": "perhaps", "empty": "", "a mapping": {"a": "b"}, "2": 2}),
    "persistence": (lambda v: {"persistence": v}, {**TEXT, "unknown": "half"}),
    "base_template": (lambda v: {"base_template": v}, {"a number": 7, "a boolean": True, "a mapping": {"a": "b"}}),
    "default_user": (lambda v: {"default_user": v}, {**TEXT, "an option": "-x"}),
    "keyboard": (lambda v: {"keyboard": v}, TEXT),
    "debug": (lambda v: {"debug": v}, {"perhaps": "perhaps", "empty": "", "a mapping": {"a": "b"}, "2": 2}),
    "services": (lambda v: {"services": v}, {"a number": 7, "a boolean": True, "empty": "", "a list": ["cups"]}),
    "services:cups": (lambda v: {"services": {"cups": v}}, {"perhaps": "perhaps", "empty": "", "a list": ["on"]}),
    "network": (lambda v: {"network": v}, {"a number": 7, "empty": "", "unknown": {"adress": "10.0.0.1"}}),
    **{
        f"network:{field}": (
            _in_network(field),
            {"a number": 70, "a boolean": True, "empty": "", "a mapping": {"a": "b"}, "out of range": "10.0.0.256"},
        )
        for field in ("ip", "netmask", "gateway", "mac", "ip6", "gateway6")
    },
    "network:dns": (
        lambda v: {"network": {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": v}},
        {"text": "10.139.1.1", "a number": 7, "too many": ["10.139.1.1"] * 17, "not one": ["x"], "a boolean": True},
    ),
    "provides_network:gateway": (
        lambda v: {"type": "NetVM", "provides_network": {"gateway": v}},
        {"a number": 7, "empty": "", "out of range": "10.0.0.256"},
    ),
    "provides_network:connected": (
        lambda v: {"type": "NetVM", "provides_network": {"gateway": "10.137.0.5", "connected": v}},
        {
            "a number": 7,
            "empty": "",
            "not one": ["x"],
            "no address": [{"mac": "00:16:3e:5e:6c:01"}],
            "no client's": [{"ip": "10.137.0.12", "vif": "eth0"}],
            "unknown": [{"ip": "10.137.0.12", "vfi": "vif1.0"}],
            "twice": [{"ip": "10.137.0.12"}] * 2,
            "its own": [{"ip": "10.137.0.5"}],
        },
    ),
    "channel": (lambda v: {"channel": v}, {"unknown": "smoke", "a number": 7, "empty": ""}),
    "require_running": (lambda v: {"require_running": v}, {"text": "yes", "a number": 1, "empty": ""}),
    "timeout": (lambda v: {"timeout": v}, {"text": "5", "none at all": 0, "too many": 3601, "a boolean": True}),
    "timezon": (lambda v: {"timezon": v}, {"unknown": "Europe/Warsaw"}),
}
#: A text to one, a form of it to the other: these take what others refuse.
TAKEN = {
    ("timeout", "a fraction"),
    ("network:netmask", "a number"),
}


def mutations() -> Iterator[Any]:
    for field, (place, more) in FIELDS.items():
        for what, value in {**NEVER, **more}.items():
            if (field, what) not in TAKEN:
                yield field, what, place(value)


MUTATIONS = {f"vm{i}": mutation for i, mutation in enumerate(mutations())}


@pytest.fixture
def result(pillar: Callable[..., Any], states: LazyLoader, host: Dom0, request: pytest.FixtureRequest) -> StateResult:
    before = host.dump()
    pillar({"qubes": {"vms": {"work": {"timezone": "Asia/Tokyo"}, **{vm: m[2] for vm, m in MUTATIONS.items()}}}})
    ret = states.qubes_vm.all_configured("push", test=request.param)
    assert host.dump() == before
    return ret


@pytest.mark.parametrize("result", [False, True], indirect=True, ids=["apply", "test"])
def test_every_fault_of_every_vm_is_told_in_one_line_with_its_path_and_nothing_is_written(result: StateResult) -> None:
    assert (result.result, result.changes) == (False, {})
    lines = str(result.comment).split("\n")
    for line in lines:
        assert line.startswith("qubes:vms:vm")
        assert line.isascii()
        assert line.isprintable()
        assert "Traceback" not in line
        assert len(line) < 500
    told = {line.split(":")[2]: line for line in lines}
    for vm, (field, what, _) in MUTATIONS.items():
        assert vm in told, f"{field} took {what}"
        assert told[vm].startswith(f"qubes:vms:{vm}:{field}"), told[vm]
    assert set(told) == set(MUTATIONS)


def test_faults_of_one_vm_are_told_together(host: Dom0, states: LazyLoader, pillar: Callable[..., Any]) -> None:
    pillar(
        {
            "qubes": {
                "defaults": {"timezone": "../x"},
                "vms": {
                    "work": {"debug": "perhaps", "keybord": "pl", "network": {"ip": "1.2.3", "gateway": "1.2.3.4.5"}},
                    "no/name": {},
                },
            }
        }
    )
    ret = states.qubes_vm.all_configured("push")
    assert ret.result is False
    assert [line.partition(": ")[0] for line in str(ret.comment).split("\n")] == [
        "qubes:defaults:timezone",
        "qubes:vms:work:debug",
        "qubes:vms:work:keybord",
        "qubes:vms:work:network:ip",
        "qubes:vms:work:network:gateway",
        "qubes:vms:no/name",
    ]
    assert "did you mean 'keyboard'?" in ret.comment


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ("text", "qubes"),
        ([], "qubes"),
        ({"vms": ["work"]}, "qubes:vms"),
        ({"vms": {"work": "on"}}, "qubes:vms:work"),
        ({"vms": {7: {}}}, "qubes:vms:7"),
        ({"vms": {True: {}}}, "qubes:vms:True"),
        ({"defaults": 1, "vms": {}}, "qubes:defaults"),
    ],
)
def test_a_pillar_of_the_wrong_shape_is_told_by_its_path(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any], data: dict[str, Any] | list[Any] | str, path: str
) -> None:
    pillar({"qubes": data})
    ret = states.qubes_vm.all_configured("push")
    assert ret.result is False
    assert str(ret.comment).startswith(f"{path}: ")
    assert "\n" not in ret.comment


@pytest.mark.parametrize("state", ["qubes_vm.all_configured", "qubes_vm.configured", "qubes_rpc.all_monitors"])
@pytest.mark.parametrize("data", [{}, {"qubes": None}, {"qubes": {"type": "admin"}}, {"qubes": {"vms": None}}])
def test_a_pillar_without_a_list_of_vms_is_an_error(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any], data: dict[str, Any], state: str
) -> None:
    pillar(data)
    before = host.dump()
    ret = getattr(getattr(states, state.split(".")[0]), state.split(".")[1])("work")
    assert (ret.result, ret.changes) == (False, {})
    assert str(ret.comment).startswith("qubes:vms: is not in the pillar of minion dom0 (expected a mapping of VMs")
    assert host.dump() == before


@pytest.mark.parametrize("state", ["qubes_vm.all_configured", "qubes_rpc.all_monitors"])
def test_a_pillar_of_no_vms_is_nothing_to_do(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any], state: str
) -> None:
    pillar({"qubes": {"vms": {}}})
    ret = getattr(getattr(states, state.split(".")[0]), state.split(".")[1])("push")
    assert (ret.result, ret.changes, ret.comment) == (True, {}, "0 VMs: nothing to do")


def test_faults_of_another_vm_do_not_keep_a_state_about_one(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any]
) -> None:
    pillar({"qubes": {"vms": {"work": {"timezone": "Asia/Tokyo"}, "other": {"timezone": 7}}}})
    assert states.qubes_vm.configured("work").changes == {"timezone": {"old": "default", "new": "Asia/Tokyo"}}
    assert states.qubes_vm.configured("other").result is False
