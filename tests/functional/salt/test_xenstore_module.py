"""Salt's ``xenstore`` functions, on the real xenstored."""

import threading
import time

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

HOME = "/local/domain/1"


@pytest.fixture
def xenstore(host, modules):
    return modules.xenstore


def test_what_is_written_is_read(xenstore):
    assert xenstore.write("/t/greeting", "hello") is True
    assert xenstore.read("/t/greeting") == "hello"
    assert xenstore.exists("/t/greeting") is True
    assert xenstore.exists("/t/farewell") is False


def test_a_whole_number_is_written_as_its_digits(xenstore):
    xenstore.write("/t/answer", 42)
    assert xenstore.read("/t/answer") == "42"


@pytest.mark.parametrize("value", [True, 1.5, None, ["a"], {"a": "b"}, "\udc80"])
def test_what_has_no_one_text_is_refused(xenstore, value):
    with pytest.raises(SaltInvocationError, match=r"expected text or a whole number|no UTF-8"):
        xenstore.write("/t/x", value)
    assert xenstore.exists("/t/x") is False


def test_what_a_vm_wrote_comes_as_printable_ascii(host, xenstore):
    with host.store() as store:
        store.write("/t/raw", b"\x1b[2J\xff\0end")
    assert xenstore.read("/t/raw") == "\\x1b[2J\\xff\\x00end"
    assert xenstore.tree("/t") == {"/t": "", "/t/raw": "\\x1b[2J\\xff\\x00end"}


def test_paths_of_a_vm_are_below_its_home(xenstore):
    xenstore.write("vm-config/greeting", "hello", vm="work")
    assert xenstore.read(f"{HOME}/vm-config/greeting") == "hello"
    assert xenstore.list("vm-config", vm="work") == ["greeting"]
    assert xenstore.domid("work") == 1


def test_a_vm_that_is_not_running_has_no_paths(xenstore):
    with pytest.raises(CommandExecutionError, match="nosuch: no running VM"):
        xenstore.read("name", vm="nosuch")


def test_names_are_listed_and_trees_are_read_whole(xenstore):
    for path in ("/t/b/c", "/t/a"):
        xenstore.write(path, "x")
    assert xenstore.list("/t") == ["a", "b"]
    assert xenstore.tree("/t") == {"/t": "", "/t/a": "x", "/t/b": "", "/t/b/c": "x"}


def test_removal_says_whether_there_was_a_key(xenstore):
    xenstore.write("/t/a/b", "x")
    assert xenstore.remove("/t/a") is True
    assert xenstore.exists("/t/a/b") is False
    assert xenstore.remove("/t/a") is False


@pytest.mark.parametrize("given", ["n0,r1", ["n0", "r1"]])
def test_permissions_are_replaced(xenstore, given):
    xenstore.write("/t/shared", "x")
    assert xenstore.perms("/t/shared") == ["n0"]
    assert xenstore.set_perms("/t/shared", given) is True
    assert xenstore.perms("/t/shared") == ["n0", "r1"]


@pytest.mark.parametrize("given", ["", "everybody", [], [1], {"n": 0}])
def test_permissions_that_mean_nothing_are_refused(xenstore, given):
    xenstore.write("/t/shared", "x")
    with pytest.raises((SaltInvocationError, CommandExecutionError)):
        xenstore.set_perms("/t/shared", given)
    assert xenstore.perms("/t/shared") == ["n0"]


def test_a_wait_ends_when_the_key_has_the_value(host, xenstore):
    def write():
        with host.store() as store:
            store.write("/t/state", b"3")
            store.write("/t/state", b"4")

    timer = threading.Timer(0.1, write)
    timer.start()
    assert xenstore.wait("/t/state", value=4, timeout=5) == "4"
    timer.join()


def test_a_wait_ends_when_the_key_is_there_or_gone(xenstore):
    assert xenstore.wait("/t/gone", absent=True, timeout=1) is None
    xenstore.write("/t/there", "x")
    assert xenstore.wait("/t/there", timeout=1) == "x"


def test_a_wait_for_what_does_not_come_ends_in_time(xenstore):
    began = time.monotonic()
    with pytest.raises(CommandExecutionError, match=r"/t/never: .*0\.2 s"):
        xenstore.wait("/t/never", timeout=0.2)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("timeout", [0, -1, "soon", True, 1e9])
def test_a_wait_needs_seconds(xenstore, timeout):
    with pytest.raises(SaltInvocationError, match="timeout"):
        xenstore.wait("/t", timeout=timeout)


def test_many_keys_are_brought_to_their_values_and_what_differed_is_told(xenstore):
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


def test_an_update_that_contradicts_itself_changes_nothing(xenstore):
    xenstore.write("/t/a/b", "x")
    with pytest.raises(CommandExecutionError, match="/t/a "):
        xenstore.update({"/t/a": None, "/t/a/b": "y", "/t/c": "z"})
    assert xenstore.tree("/t") == {"/t": "", "/t/a": "", "/t/a/b": "x"}


@pytest.mark.parametrize("path", ["", "no\0pe", "/a//b", "/a/", "/a b", "/ä", "/" + "a" * 4000, 7, None])
@pytest.mark.parametrize(
    "function", ["read", "write", "list", "tree", "remove", "perms", "set_perms", "wait", "update"]
)
def test_a_path_that_is_none_is_one_clear_error(host, xenstore, function, path):
    arguments = {"write": ["x"], "set_perms": ["n0"], "wait": [None, False, 0.2]}.get(function, [])
    arguments = [{tuple(path) if isinstance(path, list) else path: "x"}] if function == "update" else [path, *arguments]
    before = host.dump()
    with pytest.raises((SaltInvocationError, CommandExecutionError)) as raised:
        getattr(xenstore, function)(*arguments)
    assert "\n" not in str(raised.value)
    assert host.dump() == before


@pytest.mark.parametrize("vm", [7, ["work"], "no such", "../work"])
def test_a_vm_that_is_none_is_one_clear_error(xenstore, vm):
    with pytest.raises((SaltInvocationError, CommandExecutionError)):
        xenstore.read("name", vm=vm)
    with pytest.raises((SaltInvocationError, CommandExecutionError)):
        xenstore.domid(vm)


def test_an_update_needs_a_mapping(xenstore):
    with pytest.raises(SaltInvocationError, match="keys: expected a mapping"):
        xenstore.update(["/t"])


def test_without_a_store_there_is_one_clear_error(modules, monkeypatch, tmp_path):
    monkeypatch.setenv("XENSTORED_PATH", str(tmp_path / "nothing"))
    with pytest.raises(CommandExecutionError, match="nothing"):
        modules.xenstore.read("/t")
