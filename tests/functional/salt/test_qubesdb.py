"""Salt's ``qubesdb`` functions and states, and pillar pushes to VMs whose keys are there, on the lab's daemons."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.loader.lazy import LazyLoader, LoadedMod
from saltfactories.utils.functional import Loaders

from tests.functional.salt.conftest import REPOSITORY
from tests.support.qubesdb import QubesHost
from vminterface.channel.qubesdb import connection

#: Arguments that change something at first, by state.
GOOD: dict[str, list[dict[str, Any]]] = {
    "present": [
        {"name": "/vm-config/greeting", "value": "hello"},
        {"name": "vm-config/answer", "value": 42},
    ],
    "absent": [{"name": "/old"}, {"name": "/folder"}, {"name": "folder/a"}],
    "tree": [
        {"name": "/t", "keys": {"a": {"b": 1}, 51712: "disk"}},
        {"name": "/folder", "keys": {"a": "y", "b": None}},
        {"name": "/folder", "keys": {"a": "x"}, "prune": True},
    ],
}
#: What is no tree of keys.
BAD_KEYS: list[object] = [[], "x", {"a": [1]}, {True: "x"}, {"a": {"b c": "x"}}, {"a": None, "a/b": 1}]
#: Arguments that are refused.
BAD: dict[str, list[dict[str, Any]]] = {
    "present": [
        {"name": "/key", "value": True},
        {"name": "/key/", "value": "x"},
        {"name": "/a key", "value": "x"},
        {"name": "/" + 63 * "a", "value": "x"},
        {"name": "/key", "value": "x" * 3072},
        {"name": "/key", "value": "a\0b"},
        {"name": "/key", "value": "x", "vm": "nosuch", "require_running": True},
        {"name": "/key", "value": "x", "vm": 7},
    ],
    "absent": [{"name": "/"}, {"name": "/a b"}],
    "tree": [
        *({"name": "/t", "keys": keys} for keys in BAD_KEYS),
        {"name": "/t", "keys": {"good": "x", "long": "x" * 3072}},
    ],
}


@pytest.fixture(scope="module")
def qubes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QubesHost]:
    with QubesHost(tmp_path_factory.mktemp("qubes") / "q") as qubes:
        yield qubes


@pytest.fixture
def host(qubes: QubesHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QubesHost]:
    """A dom0 of Qubes R4 with one running VM, which Salt finds by the environment; always with the same keys."""
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "no-xenstore"))
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(qubes.folder))
    if "work" not in qubes.daemons:
        qubes.start_vm("work")
    with qubes.store("work") as store:
        for name in store.list("/"):
            store.remove(f"/{name}")
        store.write("/name", b"work")
        for path in ("/old", "/folder/a", "/folder/b/c", "/folders"):
            store.write(path, b"x")
    yield qubes
    while qubes.guests:
        qubes.guests.pop().stop()


@pytest.fixture
def qubesdb(host: QubesHost, modules: Any) -> LoadedMod:
    return modules.qubesdb


def cases(table: Any) -> Any:
    return [pytest.param(f, arguments, id=f"{f}-{i}") for f in table for i, arguments in enumerate(table[f])]


def test_what_is_written_is_read_by_the_vm_and_back(host: QubesHost, qubesdb: LoadedMod) -> None:
    assert qubesdb.write("/t/greeting", "hello", vm="work") is True
    assert qubesdb.read("t/greeting", vm="work") == "hello"
    assert qubesdb.exists("/t/greeting", vm="work") is True
    assert qubesdb.exists("/t", vm="work") is False
    with host.guest_store("work") as guest:
        assert guest.read("t/greeting") == b"hello"
        guest.write("t/raw", b"\x1b[2J\xff")
    assert qubesdb.tree("/t", vm="work") == {"/t/greeting": "hello", "/t/raw": "\\x1b[2J\\xff"}
    assert qubesdb.list("/t", vm="work") == ["greeting", "raw"]


def test_removal_takes_what_is_below_and_says_whether_there_was_a_key(qubesdb: LoadedMod) -> None:
    assert qubesdb.remove("/folder", vm="work") is True
    assert qubesdb.list("/", vm="work") == ["folders", "name", "old"]
    assert qubesdb.remove("/folder", vm="work") is False


def test_a_wait_ends_when_the_key_has_the_value(host: QubesHost, qubesdb: LoadedMod) -> None:
    def write() -> None:
        with host.guest_store("work") as guest:
            guest.write("state", b"4")

    timer = threading.Timer(0.1, write)
    timer.start()
    assert qubesdb.wait("/state", value=4, timeout=5, vm="work") == "4"
    timer.join()
    with pytest.raises(CommandExecutionError, match=r"0\.2 s"):
        qubesdb.wait("/never", timeout=0.2, vm="work")
    with pytest.raises(SaltInvocationError, match="timeout"):
        qubesdb.wait("/never", timeout=0, vm="work")


def test_many_keys_are_brought_to_their_values_and_what_differed_is_told(qubesdb: LoadedMod) -> None:
    keys = {"/old": "new", "fresh": 1, "/folder": None, "/never": None, "/folders": "x"}
    assert qubesdb.update(keys, vm="work") == {
        "/old": {"old": "x", "new": "new"},
        "/fresh": {"old": None, "new": "1"},
        "/folder/a": {"old": "x", "new": None},
        "/folder/b/c": {"old": "x", "new": None},
    }
    assert qubesdb.update(keys, vm="work") == {}
    with pytest.raises(SaltInvocationError, match="keys: is not a mapping"):
        qubesdb.update(["/t"], vm="work")


def test_an_update_that_contradicts_itself_changes_nothing(host: QubesHost, qubesdb: LoadedMod) -> None:
    before = host.dump()
    with pytest.raises(CommandExecutionError, match="/folder cannot be removed while /folder/a"):
        qubesdb.update({"/folder": None, "/folder/a": "y", "/c": "z"}, vm="work")
    assert host.dump() == before


@pytest.mark.any_salt
@pytest.mark.parametrize("path", ["", "no\0pe", "/a/", "/a b", "/ä", "/" + "a" * 63, 7, None])
@pytest.mark.parametrize("function", ["read", "write", "list", "tree", "remove", "exists", "wait", "update"])
def test_a_path_that_is_none_is_one_clear_error(
    host: QubesHost, qubesdb: LoadedMod, function: str, path: int | str | None
) -> None:
    if path == "" and function in ("list", "tree"):
        # Of the root, which is no key, these two are good.
        assert getattr(qubesdb, function)(path, vm="work")
        return
    more: dict[str, list[Any]] = {"write": [path, "x"], "wait": [path, None, False, 0.2], "update": [{path: "x"}]}
    arguments = more.get(function, [path])
    before = host.dump()
    with pytest.raises((SaltInvocationError, CommandExecutionError)) as raised:
        getattr(qubesdb, function)(*arguments, vm="work")
    assert "\n" not in str(raised.value)
    assert host.dump() == before


@pytest.mark.any_salt
@pytest.mark.parametrize("vm", [7, ["work"], "no such", "../work", "nosuch", ""])
def test_a_vm_that_is_none_is_one_clear_error(qubesdb: LoadedMod, vm: int | list[str] | str) -> None:
    with pytest.raises((SaltInvocationError, CommandExecutionError), match="no running VM"):
        qubesdb.read("/name", vm=vm)


def test_without_a_vm_it_is_the_qubesdb_of_this_machine(
    host: QubesHost, qubesdb: LoadedMod, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandExecutionError, match="no QubesDB here"):
        qubesdb.read("/name")
    monkeypatch.setenv("VMINTERFACE_QUBESDB_DIR", str(host.folder / "work"))
    assert qubesdb.read("/name") == "work"


def test_a_daemon_that_hangs_is_one_clear_error(host: QubesHost, qubesdb: LoadedMod) -> None:
    with host.daemons["work"].stopped(), pytest.raises(CommandExecutionError, match=r"^work: .*no reply within 5 s"):
        qubesdb.read("/name", vm="work")


def test_a_vm_that_has_written_too_much_is_named(
    host: QubesHost, qubesdb: LoadedMod, states: LazyLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BYTES_MAX", 30_000)
    host.fill("work", 30_000)
    with pytest.raises(CommandExecutionError, match=r"^work: /: more than "):
        qubesdb.tree("/", vm="work")
    ret = states.qubesdb.tree("/own", keys={"a": 1}, vm="work", prune=True)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment.startswith("work: /own: more than ")


def test_the_tables_name_every_state_function() -> None:
    written = {
        node.name
        for node in ast.parse((REPOSITORY / "_states/qubesdb.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.name != "mod_watch"
    }
    assert written == set(GOOD) == set(BAD)


@pytest.mark.parametrize(("function", "arguments"), cases(GOOD))
def test_a_state_tells_what_would_change_changes_it_and_then_nothing_more(
    host: QubesHost, states: LazyLoader, function: str, arguments: dict[str, Any]
) -> None:
    state = getattr(states.qubesdb, function)
    before = host.dump()
    ret = state(**arguments, vm="work", test=True)
    assert ret.result is None
    assert host.dump() == before
    done = state(**arguments, vm="work")
    assert done.result is True, done.comment
    assert done.changes == ret.changes != {}
    assert all(change["old"] != change["new"] for change in done.changes.values())
    after = host.dump()
    assert after != before
    assert "work:/folders" in after
    for test in (False, True):
        ret = state(**arguments, vm="work", test=test)
        assert (ret.result, ret.changes) == (True, {})
    assert host.dump() == after


@pytest.mark.any_salt
@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(("function", "arguments"), cases(BAD))
def test_what_is_wrong_is_told_and_nothing_is_written(
    host: QubesHost, states: LazyLoader, function: str, arguments: dict[str, Any], test: bool
) -> None:
    before = host.dump()
    ret = getattr(states.qubesdb, function)(**{"vm": "work", **arguments}, test=test)
    assert (ret.result, ret.changes) == (False, {})
    assert ret.comment
    assert "Traceback" not in ret.comment
    assert host.dump() == before


@pytest.mark.parametrize("function", sorted(GOOD))
def test_a_vm_that_is_not_running_is_no_error_and_no_change(host: QubesHost, states: LazyLoader, function: str) -> None:
    host.stop_vm("work")
    ret = getattr(states.qubesdb, function)(**GOOD[function][0], vm="work")
    assert (ret.result, ret.changes) == (True, {})
    assert "work is not running" in ret.comment


def test_a_pruned_tree_is_what_was_asked_for(host: QubesHost, states: LazyLoader) -> None:
    states.qubesdb.tree("/folder", keys={"a": "y"}, prune=True, vm="work")
    with host.store("work") as store:
        assert store.tree("/folder") == {"/folder/a": b"y"}


@pytest.mark.parametrize("function", sorted(GOOD))
def test_a_watched_change_runs_the_state_once_more(
    host: QubesHost, loaders: Loaders, state_tree: Path, function: str
) -> None:
    arguments = [{key: value} for key, value in {**GOOD[function][0], "vm": "work"}.items()]
    watching = {"id": {f"qubesdb.{function}": [*arguments, {"watch": [{"test": "changed"}]}]}}
    (state_tree / "watching_qubesdb.sls").write_text(
        f"#!py\ndef run():\n    return {{'changed': {{'test.succeed_with_changes': []}}, **{watching!r}}}\n"
    )
    for changes in (True, False):
        ret = loaders.modules.state.apply("watching_qubesdb")
        (line,) = [one for one in ret if one.state_id.split("_|-")[1] == "id"]
        assert line.result is True
        assert bool(line.changes) is changes


def test_the_settings_of_a_vm_are_set_read_and_told_as_on_the_xenstore(
    host: QubesHost, modules: Any, states: LazyLoader
) -> None:
    host.agent("work")
    assert modules.qubes_vm.set("work", timezone="Europe/Warsaw") == {
        "timezone": {"old": "default", "new": "Europe/Warsaw"}
    }
    assert modules.qubes_vm.get("work", "timezone") == {"timezone": "Europe/Warsaw"}
    assert modules.qubes_vm.vms()["work"]["domid"] is None
    assert "timezone" in modules.qubes_vm.vms()["work"]["agent"]["settings"]
    ret = states.qubes_vm.service_enabled("work", services=["cups"])
    assert (ret.result, ret.changes) == (True, {"services:cups": {"old": "default", "new": "on"}})
    assert states.qubes_vm.service_enabled("work", services=["cups"]).changes == {}
