"""What an agent reads of its keys while dom0 changes them, where the store has no transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from vminterface.channel.store import KeyStore, List, Operation
from vminterface.errors import KeyNotFound
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
            replies.append(KeyNotFound(name) if value is None or isinstance(one, List) else value)
            if name == self._after:
                self.held = dict(self._then)
        return replies


def network(store: Store) -> dict[str, str]:
    texts, _ = keys.read(cast(KeyStore, store), [])
    return texts


@pytest.mark.parametrize("then", [NEW, {key: NEW[key] for key in ("qubes-gateway", "qubes-netmask")}])
def test_an_address_that_changes_while_the_rest_is_read_is_left_out(then: dict[str, bytes]) -> None:
    found = network(Store(then, "qubes-ip"))
    assert found["network:gateway"] == "10.9.9.2"
    assert "network:ip" not in found


def test_one_that_stays_is_read() -> None:
    assert network(Store(OLD, "qubes-ip"))["network:ip"] == "10.0.0.1"


def test_a_store_with_transactions_shows_all_of_a_push_or_nothing() -> None:
    assert network(Store(NEW, "", transactions=True))["network:ip"] == "10.0.0.1"
