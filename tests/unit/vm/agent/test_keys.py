"""What an agent reads of its keys while dom0 changes them, and how it sees that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from vminterface.channel.store import KeyStore, List, Operation
from vminterface.errors import KeyNotFound
from vminterface.values.pushmark import PushMark
from vminterface.vm.agent import keys

OLD = {"qubes-ip": b"10.0.0.1", "qubes-gateway": b"10.0.0.2", "qubes-netmask": b"255.255.255.255"}
NEW = {"qubes-ip": b"10.9.9.9", "qubes-gateway": b"10.9.9.2", "qubes-netmask": b"255.255.255.255"}


class Store:
    """One whose keys are those of *then* from a request on."""

    home = "/"

    def __init__(self, then: dict[str, bytes], after: str, *, transactions: bool = False) -> None:
        self.held, self.transactions = dict(OLD), transactions
        self._then, self._after = then, after

    def batch(self, operations: Sequence[Operation]) -> list[Any]:
        replies = []
        for one in operations:
            name = one.path.removeprefix("/")
            value = self.held.get(name)
            below = [key.removeprefix(f"{name}/") for key in self.held if key.startswith(f"{name}/")]
            replies.append(below if isinstance(one, List) else KeyNotFound(name) if value is None else value)
            if name == self._after:
                self.held = dict(self._then)
        return replies


def network(store: Store) -> dict[str, str]:
    return keys.read(cast(KeyStore, store), []).texts


@pytest.mark.parametrize("then", [NEW, {key: NEW[key] for key in ("qubes-gateway", "qubes-netmask")}])
def test_an_address_that_changes_while_the_rest_is_read_is_left_out(then: dict[str, bytes]) -> None:
    found = network(Store(then, "qubes-ip"))
    assert found["network:gateway"] == "10.9.9.2"
    assert "network:ip" not in found


def test_one_that_stays_is_read() -> None:
    assert network(Store(OLD, "qubes-ip"))["network:ip"] == "10.0.0.1"


def test_a_store_with_transactions_shows_all_of_a_push_or_nothing() -> None:
    assert network(Store(NEW, "", transactions=True))["network:ip"] == "10.0.0.1"


@pytest.mark.parametrize(
    ("before", "after", "unfinished"),
    [
        (None, None, False),
        (b"written 1", b"written 1", False),
        (b"writing 1", b"writing 1", True),
        (b"writing 1", b"written 1", True),
        (b"written 1", b"written 2", True),
        (None, b"written 1", True),
        (b"\xff", b"nothing", False),
    ],
)
@pytest.mark.parametrize("members", [{}, {"qubes-service/cups": b"1"}])
def test_what_was_read_while_a_push_was_written_is_seen_to_be_unfinished(
    before: bytes | None, after: bytes | None, unfinished: bool, members: dict[str, bytes]
) -> None:
    marks = [{} if mark is None else {"vminterface/push": mark} for mark in (before, after)]
    store = Store({**OLD, **members, **marks[1]}, "qubes-ip")
    store.held = {**OLD, **members, **marks[0]}
    found = keys.read(cast(KeyStore, store), [])
    assert found.unfinished is unfinished
    assert ("services:cups" in found.texts) is bool(members)


def test_a_push_that_is_written_while_the_members_of_a_family_are_read_is_noticed() -> None:
    held = {**OLD, "qubes-service/cups": b"1", "vminterface/push": b"written 1"}
    store = Store({**held, "vminterface/push": b"written 2"}, "qubes-service/cups")
    store.held = held
    found = keys.read(cast(KeyStore, store), [])
    assert (found.unfinished, found.marks) == (True, (PushMark(1, True), PushMark(2, True)))
