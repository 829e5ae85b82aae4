"""What the toolstack says of a provider's clients, and what dom0 says on top of it."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.client import Client, Clients
from vminterface.vm.machine.backends import Backend, clients

ONE = Backend.parse("vif5.0", "00:16:3e:5e:6c:01", "10.137.0.12 fd09::c")
TWO = Backend.parse("vif6.0", "00:16:3e:5e:6c:02", "")
TOLD = frozenset({ONE, TWO})


def named(text: str) -> set[str]:
    return {str(client) for client in clients(Clients.parse(text), TOLD)}


def test_where_dom0_says_nothing_each_address_of_the_toolstack_is_a_client() -> None:
    assert {str(client) for client in clients(None, TOLD)} == {
        "10.137.0.12,00:16:3e:5e:6c:01,vif5.0",
        "fd09::c,00:16:3e:5e:6c:01,vif5.0",
    }


def test_where_dom0_names_clients_there_are_no_others() -> None:
    assert named("") == set()
    assert named("10.137.0.77") == {"10.137.0.77"}


def test_what_dom0_leaves_open_is_found_by_the_address_or_the_mac_address() -> None:
    assert named("10.137.0.12") == {"10.137.0.12,00:16:3e:5e:6c:01,vif5.0"}
    assert named("10.137.0.13,00:16:3e:5e:6c:02") == {"10.137.0.13,00:16:3e:5e:6c:02,vif6.0"}
    assert named("10.137.0.13,,vif6.0") == {"10.137.0.13,00:16:3e:5e:6c:02,vif6.0"}


def test_what_dom0_says_is_not_changed() -> None:
    text = "10.137.0.12,00:16:3e:00:00:99,vif9.0"
    assert named(text) == {text}


def test_of_two_interfaces_with_one_mac_address_the_later_domain_is_meant() -> None:
    told = {Backend.parse(f"vif{n}.0", "00:16:3e:5e:6c:01", "10.137.0.12") for n in (9, 10, 3)}
    (found,) = clients(Clients.parse("10.137.0.12"), told)
    assert found == Client.of("10.137.0.12", "00:16:3e:5e:6c:01", "vif10.0")


@pytest.mark.parametrize("words", [("eth0", "", ""), ("vif5.0", "x", ""), ("vif5.0", "", "10.137.0.300")])
def test_what_is_no_backend_is_refused(words: tuple[str, str, str]) -> None:
    with pytest.raises(InvalidValue):
        Backend.parse(*words)
