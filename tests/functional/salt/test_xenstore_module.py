"""Salt's ``xenstore`` functions, on the real xenstored."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from salt.loader.lazy import LoadedMod

from tests.support.dom0 import Dom0
from tests.support.stopwatch import Stopwatch
from vminterface.dom0.results.states import keys

HOME = "/local/domain/1"


@pytest.fixture
def xenstore(host: Dom0, modules: Any) -> LoadedMod:
    return modules.xenstore


def test_what_is_written_is_read(xenstore: LoadedMod) -> None:
    assert xenstore.write("/t/greeting", "hello") is True
    assert xenstore.read("/t/greeting") == "hello"
    assert xenstore.exists("/t/greeting") is True
    assert xenstore.exists("/t/farewell") is False


def test_a_whole_number_is_written_as_its_digits(xenstore: LoadedMod) -> None:
    xenstore.write("/t/answer", 42)
    assert xenstore.read("/t/answer") == "42"


@pytest.mark.any_salt
@pytest.mark.parametrize("value", [True, 1.5, None, ["a"], {"a": "b"}, "\udc80"])
def test_what_has_no_one_text_is_refused(xenstore: LoadedMod, value: Any) -> None:
    with pytest.raises(SaltInvocationError, match=r"expected text or a whole number|not UTF-8"):
        xenstore.write("/t/x", value)
    assert xenstore.exists("/t/x") is False


def test_what_a_vm_wrote_comes_as_printable_ascii(host: Dom0, xenstore: LoadedMod) -> None:
    with host.store() as store:
        store.write("/t/raw", b"\x1b[2J\xff\0end")
    assert xenstore.read("/t/raw") == "\\x1b[2J\\xff\\x00end"
    assert xenstore.tree("/t") == {"/t": "", "/t/raw": "\\x1b[2J\\xff\\x00end"}


def test_paths_of_a_vm_are_below_its_home(xenstore: LoadedMod) -> None:
    xenstore.write("vm-config/greeting", "hello", vm="work")
    assert xenstore.read(f"{HOME}/vm-config/greeting") == "hello"
    assert xenstore.list("vm-config", vm="work") == ["greeting"]
    assert xenstore.domid("work") == 1


def test_a_path_of_a_vm_that_begins_at_the_root_is_refused(xenstore: LoadedMod) -> None:
    with pytest.raises(SaltInvocationError, match=r"'/name' is not a path below a VM's home \(expected one without /"):
        xenstore.read("/name", vm="work")


@pytest.mark.any_salt
@pytest.mark.parametrize("test", [True, False])
def test_the_root_of_the_store_is_not_removed_and_a_test_run_reports_it(host: Dom0, test: bool) -> None:
    ret = keys.absent("xenstore", "/", None, require_running=False, test=test)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == "'/' cannot be removed: it is the root of the store"


def test_a_vm_that_is_not_running_has_no_paths(xenstore: LoadedMod) -> None:
    with pytest.raises(CommandExecutionError, match="nosuch: there is no running VM with this name"):
        xenstore.read("name", vm="nosuch")


def test_names_are_listed_and_trees_are_read_whole(xenstore: LoadedMod) -> None:
    for path in ("/t/b/c", "/t/a"):
        xenstore.write(path, "x")
    assert xenstore.list("/t") == ["a", "b"]
    assert xenstore.tree("/t") == {"/t": "", "/t/a": "x", "/t/b": "", "/t/b/c": "x"}


def test_removal_says_whether_there_was_a_key(xenstore: LoadedMod) -> None:
    xenstore.write("/t/a/b", "x")
    assert xenstore.remove("/t/a") is True
    assert xenstore.exists("/t/a/b") is False
    assert xenstore.remove("/t/a") is False


@pytest.mark.parametrize("given", ["n0,r1", ["n0", "r1"]])
def test_permissions_are_replaced(xenstore: LoadedMod, given: list[str] | str) -> None:
    xenstore.write("/t/shared", "x")
    assert xenstore.perms("/t/shared") == ["n0"]
    assert xenstore.set_perms("/t/shared", given) is True
    assert xenstore.perms("/t/shared") == ["n0", "r1"]


@pytest.mark.any_salt
@pytest.mark.parametrize("given", ["", "everybody", [], [1], {"n": 0}])
def test_permissions_that_mean_nothing_are_refused(
    xenstore: LoadedMod, given: dict[str, int] | list[int] | str
) -> None:
    xenstore.write("/t/shared", "x")
    with pytest.raises((SaltInvocationError, CommandExecutionError)):
        xenstore.set_perms("/t/shared", given)
    assert xenstore.perms("/t/shared") == ["n0"]


def test_a_wait_ends_when_the_key_has_the_value(host: Dom0, xenstore: LoadedMod) -> None:
    def write() -> None:
        with host.store() as store:
            store.write("/t/state", b"3")
            store.write("/t/state", b"4")

    timer = threading.Timer(0.1, write)
    timer.start()
    assert xenstore.wait("/t/state", value=4, timeout=5) == "4"
    timer.join()


def test_a_wait_ends_when_the_key_is_there_or_gone(xenstore: LoadedMod) -> None:
    assert xenstore.wait("/t/gone", absent=True, timeout=1) is None
    xenstore.write("/t/there", "x")
    assert xenstore.wait("/t/there", timeout=1) == "x"


def test_a_wait_for_what_does_not_come_ends_in_time(xenstore: LoadedMod) -> None:
    began = Stopwatch()
    with pytest.raises(CommandExecutionError, match=r"/t/never: .*0\.2 s"):
        xenstore.wait("/t/never", timeout=0.2)
    began.check(1)


@pytest.mark.any_salt
@pytest.mark.parametrize("timeout", [0, -1, "soon", True, 1e9])
def test_a_wait_needs_seconds(xenstore: LoadedMod, timeout: bool | float | str) -> None:
    with pytest.raises(SaltInvocationError, match="timeout"):
        xenstore.wait("/t", timeout=timeout)


def test_many_keys_are_brought_to_their_values_and_what_differed_is_told(xenstore: LoadedMod) -> None:
    xenstore.write("/t/same", "1")
    xenstore.write("/t/other", "old")
    xenstore.write("/t/gone/below", "x")
    keys = {"/t/same": 1, "/t/other": "new", "/t/fresh": "x", "/t/gone": None, "/t/never": None}
    assert xenstore.update(keys) == {
        "/t/other": {"old": "old", "new": "new"},
        "/t/fresh": {"old": None, "new": "x"},
        "/t/gone": {"old": "", "new": None},
    }
    assert xenstore.update(keys) == {}
    assert xenstore.list("/t") == ["fresh", "other", "same"]


def test_an_update_that_contradicts_itself_changes_nothing(xenstore: LoadedMod) -> None:
    xenstore.write("/t/a/b", "x")
    with pytest.raises(CommandExecutionError, match="/t/a "):
        xenstore.update({"/t/a": None, "/t/a/b": "y", "/t/c": "z"})
    assert xenstore.tree("/t") == {"/t": "", "/t/a": "", "/t/a/b": "x"}


@pytest.mark.any_salt
@pytest.mark.parametrize("path", ["", "no\0pe", "/a//b", "/a/", "/a b", "/ä", "/" + "a" * 4000, 7, None])
@pytest.mark.parametrize(
    "function", ["read", "write", "list", "tree", "remove", "perms", "set_perms", "wait", "update"]
)
def test_a_path_that_is_none_is_one_clear_error(
    host: Dom0, xenstore: LoadedMod, function: str, path: int | str | None
) -> None:
    more: dict[str, list[Any]] = {"write": ["x"], "set_perms": ["n0"], "wait": [None, False, 0.2]}
    arguments = [{path: "x"}] if function == "update" else [path, *more.get(function, [])]
    before = host.dump()
    with pytest.raises((SaltInvocationError, CommandExecutionError)) as raised:
        getattr(xenstore, function)(*arguments)
    assert "\n" not in str(raised.value)
    assert host.dump() == before


@pytest.mark.any_salt
@pytest.mark.parametrize("vm", [7, ["work"], "no such", "../work"])
def test_a_vm_that_is_none_is_one_clear_error(xenstore: LoadedMod, vm: int | list[str] | str) -> None:
    with pytest.raises((SaltInvocationError, CommandExecutionError)):
        xenstore.read("name", vm=vm)
    with pytest.raises((SaltInvocationError, CommandExecutionError)):
        xenstore.domid(vm)


def test_an_update_needs_a_mapping(xenstore: LoadedMod) -> None:
    with pytest.raises(SaltInvocationError, match="keys: is not a mapping"):
        xenstore.update(["/t"])


def test_without_a_store_there_is_one_clear_error(
    modules: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    with pytest.raises(CommandExecutionError, match="nothing"):
        modules.xenstore.read("/t")
