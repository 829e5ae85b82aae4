"""Which nodes a VM gets to write, with which permissions, and which of them it has already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from tests.support.memorystore import MemoryStore
from vminterface.channel.store import GetPermissions, KeyStore, Operation, SetPermissions, Write
from vminterface.dom0.inventory import vmnames
from vminterface.dom0.inventory.targets import Target
from vminterface.dom0.push.grants import GIVEN, grant, grant_all, missing
from vminterface.errors import InvalidValue, KeyNotFound, PermissionDenied

BASE = "/local/domain/7/"
OWN = ["n7"]
NODES = (
    "vminterface",
    "memory/meminfo",
    "memory/swapinfo",
    "qubes-block-devices",
    "qubes-usb-devices",
)


class XenStore(MemoryStore):
    """A store whose keys have permissions; ``attempts`` counts the transactions."""

    def __init__(self, permissions: dict[str, list[str]] | None = None) -> None:
        super().__init__(per_vm=False)
        self.by_path = {BASE + name: entries for name, entries in (permissions or {}).items()}
        self.attempts = 0

    def _outcome(self, one: Operation) -> Any:
        if one.path not in self.fails and isinstance(one, GetPermissions):
            return self.by_path.get(one.path, KeyNotFound(one.path))
        if one.path not in self.fails and isinstance(one, SetPermissions):
            self.by_path[one.path] = list(one.permissions)
            return None
        return super()._outcome(one)

    def transaction(self, work: Any, *, attempts: int = 8, timeout: float | None = None) -> Any:
        self.attempts += 1
        return work(self)


def all_but(**others: list[str] | None) -> XenStore:
    """A store in which the VM may write everything, but for *others*: None for a key that is not there."""
    entries = dict.fromkeys(GIVEN, OWN) | {name.replace("__", "/"): entry for name, entry in others.items()}
    return XenStore({name: entry for name, entry in entries.items() if entry is not None})


def test_a_vm_may_write_its_reports_and_what_it_asks_for() -> None:
    assert GIVEN[: len(NODES)] == NODES
    assert len(GIVEN) == len(NODES) + 2


def test_a_node_that_is_not_there_is_made_empty_and_the_vms_own() -> None:
    store = all_but(memory__meminfo=None)
    assert missing(store, 7, BASE) == {"memory/meminfo": None}
    assert grant(store, 7, BASE) == ("memory/meminfo",)
    assert store.done == [Write(f"{BASE}memory/meminfo", b"")]
    assert store.by_path[f"{BASE}memory/meminfo"] == ["n7"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["n0"], ["n7"]),
        (["n0", "r7"], ["n7"]),
        (["n0", "r9", "r7", "b8"], ["n7", "r9", "b8"]),
        (["n77"], ["n7"]),
        (["n0", "w77"], ["n7", "w77"]),
    ],
)
def test_a_node_that_is_there_becomes_the_vms_and_its_other_readers_stay(before: list[str], after: list[str]) -> None:
    store = all_but(memory__meminfo=before)
    assert missing(store, 7, BASE) == {"memory/meminfo": before}
    grant(store, 7, BASE)
    assert store.by_path[f"{BASE}memory/meminfo"] == after
    assert store.done == []


@pytest.mark.parametrize("entries", [["n7"], ["b7", "r9"], ["n0", "w7"], ["n0", "r9", "b7"]])
def test_a_node_that_the_vm_can_write_stays_as_it_is(entries: list[str]) -> None:
    store = all_but(memory__meminfo=entries)
    assert missing(store, 7, BASE) == {}
    assert grant(store, 7, BASE) == ()
    assert store.by_path[f"{BASE}memory/meminfo"] == entries


def test_a_refusal_is_raised() -> None:
    store = all_but(memory__meminfo=None, memory__swapinfo=["n0"])
    store.fails[f"{BASE}memory/meminfo"] = PermissionDenied("no")
    with pytest.raises(PermissionDenied):
        missing(store, 7, BASE)
    store.fails.clear()

    class Full(XenStore):
        def batch(self, operations: Any, *, timeout: float | None = None) -> list[Any]:
            outcomes = super().batch(operations)
            return [PermissionDenied("full") if isinstance(one, SetPermissions) else outcome
                    for one, outcome in zip(operations, outcomes, strict=True)]  # fmt: skip

    with pytest.raises(PermissionDenied, match="full"):
        grant(Full(), 7, BASE)


class Host:
    """The VMs of *stores*, by domid, on a host with a XenStore; ``halted`` does not run."""

    def __init__(self, **stores: tuple[int | None, KeyStore]) -> None:
        self._running = {vm: Target(vm, domid, store, BASE) for vm, (domid, store) in stores.items()}

    def running(self) -> dict[str, Target]:
        return self._running

    def on_xenstore(self, running: dict[str, Target]) -> dict[str, Target]:
        return {vm: target for vm, target in running.items() if vm != "qubesdb"}


class TestAll:
    def granted(self, host: Host, vms: Any = None, **more: bool) -> dict[str, tuple[str, ...]]:
        targets: Any = host
        return grant_all(targets, vms, **more)

    def test_each_vm_that_runs_has_what_it_lacks_in_one_transaction(self) -> None:
        work, mail = XenStore(), all_but(memory__meminfo=["n0"])
        host = Host(work=(7, work), mail=(7, mail), whole=(7, all_but()), qubesdb=(7, XenStore()))
        assert list(self.granted(host).items()) == [("mail", ("memory/meminfo",)), ("work", GIVEN)]
        assert (work.attempts, mail.attempts) == (1, 1)
        assert all(entries == OWN for entries in work.by_path.values())
        assert self.granted(host) == {}
        assert work.attempts == 1

    def test_only_the_named_ones_where_some_are_named(self) -> None:
        work, mail = XenStore(), XenStore()
        assert self.granted(Host(work=(7, work), mail=(7, mail)), ["mail", "halted"]) == {"mail": GIVEN}
        assert (work.attempts, mail.attempts) == (0, 1)
        assert self.granted(Host(work=(7, work)), []) == {}

    def test_a_test_writes_nothing(self) -> None:
        work = XenStore()
        assert self.granted(Host(work=(7, work)), test=True) == {"work": GIVEN}
        assert (work.attempts, work.by_path) == (0, {})

    def test_a_vm_without_a_domid_is_passed_over(self) -> None:
        assert self.granted(Host(work=(None, XenStore()))) == {}
        assert self.granted(Host(mail=(None, XenStore()), work=(7, XenStore()))) == {"work": GIVEN}

    def test_names_that_no_vm_has_are_looked_for_under_the_lists_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[tuple[list[str], str]] = []
        monkeypatch.setattr(vmnames, "check_list", lambda vms, where: asked.append((list(vms), where)))
        self.granted(Host(), ["work"])
        self.granted(Host())
        assert asked == [(["work"], "vms"), ([], "vms")]

    @pytest.mark.parametrize("vms", ["work", {"work": 1}, ["work", 7], 5, ["dom0"], ["no/name"]])
    def test_what_is_no_list_of_vms_is_refused(self, vms: Any) -> None:
        with pytest.raises(InvalidValue):
            self.granted(Host(work=(7, XenStore())), vms)

    @pytest.mark.parametrize("vms", [["work"], ("work",), {"work"}])
    def test_any_list_is_one(self, vms: Iterable[str]) -> None:
        assert self.granted(Host(work=(7, XenStore())), vms) == {"work": GIVEN}
