"""What holds for every state function: truth in test mode, nothing changed twice, faults told and nothing written."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.loader.lazy import LazyLoader
from saltfactories.utils.functional import Loaders

from tests.functional.salt.conftest import REPOSITORY
from tests.support.dom0 import Dom0
from tests.support.masked import masked

PILLAR = {"qubes": {"vms": {"work": {"timezone": "Asia/Tokyo", "services": {"cups": True}}}}}

#: Arguments that change something at first, by function.
GOOD: dict[str, list[dict[str, Any]]] = {
    "qubes_vm.all_configured": [
        {"name": "push"},
        {"name": "push", "only": ["services"], "channel": "xenstore", "confirm": False},
    ],
    "qubes_vm.all_reporting": [{"name": "reports"}, {"name": "reports", "vms": ["work"]}],
    "qubes_vm.configured": [
        {"name": "work"},
        {"name": "work", "only": ["timezone"], "persist": False},
        {"name": "work", "settings": {"network": {"ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": []}}},
        {"name": "work", "settings": {"type": "AppVM", "updateable": False, "persistence": "rw-only"}},
    ],
    "qubes_vm.timezone": [{"name": "work", "timezone": "Europe/Warsaw"}],
    "qubes_vm.service_enabled": [{"name": "work", "services": ["cups", "crond"]}, {"name": "work", "services": "cups"}],
    "qubes_vm.service_disabled": [{"name": "work", "services": ["cups"]}],
    "qubes_vm.service_default": [{"name": "work", "services": "sshd"}],
    "qubes_vm.network": [
        {"name": "work", "ip": "10.137.0.12", "gateway": "10.137.0.5", "dns": ["10.139.1.1"], "require_running": True},
        {"name": "work", "ip": "10.137.0.12", "gateway": "10.137.0.5", "ip6": "fd09::1", "gateway6": "fd09::2"},
        {"name": "work", "ip": "10.137.0.12", "gateway": "10.137.0.5", "reattach": True},
    ],
    "qubes_vm.network_provider": [{"name": "work", "gateway": "10.137.0.5"}],
    "qubes_vm.provides_network": [
        {"name": "work", "gateway": "10.137.0.5", "dns": ["10.139.1.1"], "gateway6": "fd09::5"},
        {"name": "work", "gateway": "10.137.0.5", "connected": [{"ip": "10.137.0.12", "vif": "vif5.0"}]},
    ],
    "qubes_vm.keyboard": [{"name": "work", "keyboard": "pl+dvorak"}, {"name": "work", "layout": "pl+dvorak"}],
    "qubes_vm.debug": [{"name": "work"}, {"name": "work", "debug": False, "timeout": 3}],
    "qubes_vm.debug_mode": [{"name": "work"}, {"name": "work", "enabled": False, "timeout": 3}],
    "xenstore.present": [
        {"name": "/t/key", "value": "x"},
        {"name": "vm-config/greeting", "value": 1, "vm": "work"},
    ],
    "xenstore.absent": [{"name": "/t/old"}, {"name": "qubes-service/sshd", "vm": "work"}],
    "xenstore.tree": [
        {"name": "/t", "keys": {"a": {"b": 1}, "old": None}},
        {"name": "vm-config", "keys": {"a": "b", 51712: "disk"}, "vm": "work"},
        {"name": "/t", "keys": {"a": "b"}, "prune": True},
    ],
}
#: What is no tree of keys.
BAD_KEYS: list[object] = [
    [],
    "x",
    {"a": [1]},
    {True: "x"},
    {"a": {"b c": "x"}},
    {"a": None, "a/b": 1},
    {"a/b": 1, "a": None},
]
#: Arguments that are refused.
BAD: dict[str, list[dict[str, Any]]] = {
    "qubes_vm.all_configured": [
        {"name": "push", "only": ["zones"]},
        {"name": "push", "only": "timezone"},
        {"name": "push", "channel": "qubesdbx"},
        {"name": "push", "persist": True},
    ],
    "qubes_vm.all_reporting": [{"name": "reports", "vms": v} for v in ("work", ["no/name"], [7])],
    "qubes_vm.configured": [
        {"name": "personal"},
        {"name": "work", "settings": []},
        {"name": "work", "settings": {"timezon": "Europe/Warsaw"}},
        {"name": "no/name", "settings": {}},
        {"name": "work", "confirm": "perhaps"},
        {"name": "work", "settings": {"netvm": "sys-net"}},
        {"name": "work", "settings": {"debug": True, "require_running": "perhaps"}},
    ],
    "qubes_vm.timezone": [{"name": "work", "timezone": z} for z in ("../../etc/shadow", "a\nb", 7, None, "")],
    "qubes_vm.service_enabled": [{"name": "work", "services": s} for s in ("a b", [1], {"cups": True}, None)],
    "qubes_vm.service_disabled": [{"name": "work", "services": ["cups", "../x"]}],
    "qubes_vm.service_default": [{"name": "work", "services": 5}],
    "qubes_vm.network": [
        {"name": "work"},
        {"name": "work", "ip": "10.137.0.256"},
        {"name": "work", "ip": "10.137.0.12", "none": True},
        {"name": "work", "dns": ["10.139.1.1"] * 3},
        {"name": "work", "ip": "10.137.0.12", "gateway": "10.137.0.5", "reattach": "perhaps"},
    ],
    "qubes_vm.network_provider": [{"name": "work"}],
    "qubes_vm.provides_network": [
        {"name": "work"},
        {"name": "work", "dns": ["10.139.1.1"]},
        {"name": "work", "gateway": "10.137.0.5", "none": True},
        {"name": "work", "gateway": "10.137.0.5", "connected": [{"ip": "10.137.0.5"}]},
        {"name": "work", "gateway": "10.137.0.5", "connected": [{"ip": "10.137.0.12", "vif": "eth0"}]},
    ],
    "qubes_vm.keyboard": [
        *({"name": "work", "keyboard": layout} for layout in ("pl;reboot", 7, None)),
        {"name": "work", "layout": "pl;reboot"},
        {"name": "work", "keyboard": "pl", "layout": "pl"},
        {"name": "work"},
    ],
    "qubes_vm.debug": [{"name": "work", "debug": "perhaps"}, {"name": "nosuch", "require_running": True}],
    "qubes_vm.debug_mode": [{"name": "work", "enabled": "perhaps"}],
    "xenstore.present": [
        {"name": "/t/key", "value": True},
        {"name": "/t//key", "value": "x"},
        {"name": "/t/key", "value": "x" * 5000},
        {"name": "key", "value": "x", "vm": "nosuch", "require_running": True},
        {"name": "key", "value": "x", "vm": 7},
    ],
    "xenstore.absent": [{"name": "/t/../key"}],
    "xenstore.tree": [{"name": "/t", "keys": keys} for keys in BAD_KEYS],
}


@pytest.fixture
def host(host: Dom0) -> Dom0:
    """The VM's agent has settled, so that only states change the store."""
    home = f"/local/domain/{host.domids['work']}"
    with host.store() as store:
        store.write("/t/old", b"x")
        store.write(f"{home}/qubes-service/sshd", b"1")
        store.write(f"{home}/vminterface", b"")
        store.set_permissions(f"{home}/vminterface", ["n1"])
        for setting in ("name", "services"):
            store.wait_for(f"{home}/vminterface/ack/{setting}", bool, timeout=5)
    return host


@pytest.fixture
def apply(states: LazyLoader, pillar: Callable[..., Any]) -> Callable[..., Any]:
    def apply(function: Any, arguments: Any, **more: Any) -> Any:
        module, _, name = function.partition(".")
        return getattr(getattr(states, module), name)(**arguments, **more)

    pillar(PILLAR)

    return apply


def cases(table: Any) -> Any:
    return [pytest.param(f, arguments, id=f"{f}-{i}") for f in table for i, arguments in enumerate(table[f])]


def pairs(changes: dict[str, Any]) -> list[dict[str, Any]]:
    """What is old and new in *changes*, which those of many VMs have one level deeper."""
    found: list[dict[str, Any]] = []
    for change in changes.values():
        found += [change] if set(change) == {"old", "new"} else pairs(change)
    return found


def test_the_tables_name_every_state_function() -> None:
    written = {
        f"{file.stem}.{node.name}"
        for file in (REPOSITORY / "_states").glob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name != "mod_watch"
        if file.stem in ("qubes_vm", "xenstore")
    }
    # These are no key's: they are held to the same in test_rpc_states.py and test_persist.py.
    written -= {"qubes_vm.clock_synced", "qubes_vm.features", "qubes_vm.properties"}
    written |= {"qubes_vm.debug_mode", "qubes_vm.network_provider"}  # former names
    assert written == set(GOOD) == set(BAD)


@pytest.mark.parametrize(("function", "arguments"), cases(GOOD))
def test_test_mode_tells_what_would_change_and_writes_nothing(
    host: Dom0, apply: Callable[..., Any], function: str, arguments: dict[str, Any]
) -> None:
    before = host.dump()
    ret = apply(function, arguments, test=True)
    assert ret.result is None
    assert host.dump() == before
    done = apply(function, arguments)
    assert done.result is True, done.comment
    assert done.changes == ret.changes != {}
    assert host.dump() != before
    assert all(change["old"] != change["new"] for change in pairs(ret.changes))
    assert "\n" not in ret.comment


@pytest.mark.parametrize(("function", "arguments"), cases(GOOD))
def test_the_second_time_nothing_changes(
    host: Dom0, apply: Callable[..., Any], function: str, arguments: dict[str, Any]
) -> None:
    assert apply(function, arguments).changes
    after = host.dump()
    for test in (False, True):
        ret = apply(function, arguments, test=test)
        assert (ret.result, ret.changes) == (True, {})
    assert host.dump() == after


@pytest.mark.any_salt
@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(("function", "arguments"), cases(BAD))
def test_what_is_wrong_is_told_and_nothing_is_written(
    host: Dom0, apply: Callable[..., Any], function: str, arguments: dict[str, Any], test: bool
) -> None:
    before = host.dump()
    ret = apply(function, arguments, test=test)
    assert ret.result is False
    assert ret.changes == {}
    assert ret.comment
    assert "Traceback" not in ret.comment
    assert "exception" not in ret.comment
    assert host.dump() == before


def test_the_classes_that_salt_has_for_a_pillar_make_no_difference_as_arguments(
    host: Dom0, apply: Callable[..., Any]
) -> None:
    holding = {
        f"{function} {table is BAD}": (function, one)
        for table in (GOOD, BAD)
        for function in table
        for one in table[function]
        if any(isinstance(value, list | dict) for value in one.values())
    }
    for function, arguments in holding.values():
        told_plain, told_masked = (
            repr((ret.result, ret.changes, ret.comment))
            for ret in (apply(function, given, test=True) for given in (arguments, masked(arguments)))
        )
        assert told_masked == told_plain, (function, arguments)


@pytest.mark.any_salt
@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("function", sorted(GOOD))
def test_without_a_store_it_fails_with_one_sentence(
    apply: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, function: str, test: bool
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    ret = apply(function, GOOD[function][0], test=test)
    assert (ret.result, ret.changes) == (False, {})
    assert "nothing" in ret.comment
    assert "\n" not in ret.comment


@pytest.mark.any_salt
@pytest.mark.parametrize(
    ("function", "arguments"),
    [case for case in cases(GOOD) if "work" in str(case.values) and "require_running" not in case.values[1]],
)
def test_a_vm_that_is_not_running_is_no_error_and_no_change(
    host: Dom0, apply: Callable[..., Any], function: str, arguments: dict[str, Any]
) -> None:
    host.stop_vm("work")
    before = host.dump()
    ret = apply(function, arguments)
    assert (ret.result, ret.changes) == (True, {})
    assert "work is not running" in ret.comment
    assert host.dump() == before


@pytest.mark.parametrize("function", sorted(GOOD))
def test_a_watched_change_runs_the_state_once_more(
    host: Dom0, loaders: Loaders, pillar: Callable[..., Any], state_tree: Path, function: str
) -> None:
    pillar(PILLAR)
    arguments = [{key: value} for key, value in GOOD[function][0].items()]
    watching = {"id": {function: [*arguments, {"watch": [{"test": "changed"}]}]}}
    (state_tree / "watching.sls").write_text(
        "#!py\ndef run():\n"
        f"    return {{'changed': {{'test.succeed_with_changes': []}}, **{watching!r}}}\n"
    )  # fmt: skip
    for changes in (True, False):
        ret = loaders.modules.state.apply("watching")
        (line,) = [one for one in ret if one.state_id.split("_|-")[1] == "id"]
        assert line.result is True
        assert bool(line.changes) is changes
