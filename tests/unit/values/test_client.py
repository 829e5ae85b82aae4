"""The clients of a provider, as the text of one key."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.client import LIMIT, Client, Clients, Vif

TEXT = "10.137.0.12,00:16:3e:5e:6c:01,vif5.0 10.137.0.13 10.137.0.14,,vif6.0 fd09::c,00:16:3e:5e:6c:01"


def test_what_was_read_is_rendered_in_order_of_the_addresses() -> None:
    assert str(Clients.parse(TEXT)) == TEXT
    assert str(Clients.parse("10.137.0.13 10.137.0.2 fd09::c")) == "10.137.0.2 10.137.0.13 fd09::c"


def test_the_order_is_not_of_importance() -> None:
    assert Clients.parse("10.137.0.13 10.137.0.2") == Clients.parse("10.137.0.2 10.137.0.13")


def test_the_empty_text_is_nobody() -> None:
    assert Clients.parse("") == Clients()
    assert str(Clients()) == ""


def test_an_interface_tells_domain_and_device() -> None:
    assert Vif.parse("vif5.1") == Vif(5, 1)
    assert str(Vif(5, 1)) == "vif5.1"


@pytest.mark.parametrize(
    "name",
    ["eth0", "vif5", "vif05.0", "vif5.0-emu", "vif-5.0", 'vif5.0"', "vif123456.0", "VIF5.0", "vif\u0665.0"],
)
def test_the_name_of_no_other_interface_passes_for_a_clients(name: str) -> None:
    with pytest.raises(InvalidValue, match=r"vif5\.0\)"):
        Vif.parse(name)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("10.137.0.300", "ip"),
        (",00:16:3e:5e:6c:01", "ip"),
        ("10.137.0.12,00:16:3e", "mac"),
        ("10.137.0.12,,eth0", "vif"),
        ("10.137.0.12,,vif5.0,x", ""),
        ("127.0.0.1", "ip"),
    ],
)
def test_a_fault_names_the_part(text: str, where: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        Client.parse(text)
    assert refused.value.where == where


def test_an_address_that_is_there_twice_is_named_with_its_place() -> None:
    with pytest.raises(InvalidValue) as refused:
        Clients.parse("10.137.0.11 10.137.0.12 10.137.0.12")
    assert [(error.where, "10.137.0.12 is given twice" in str(error)) for error in refused.value.errors] == [
        ("2", True)
    ]


def test_what_is_not_known_of_a_client_is_none() -> None:
    client = Client.parse("10.137.0.12")
    assert client == Client(client.ip) == Client(client.ip, None, None)


def test_a_fault_of_a_part_says_what_is_wrong_with_it() -> None:
    with pytest.raises(InvalidValue, match=r"'10\.137\.0\.300' is not a valid IPv4 address"):
        Client.parse("10.137.0.300")


def test_one_address_on_two_interfaces_has_one_order() -> None:
    both = [Client.of("10.137.0.12", vif=f"vif{domid}.0") for domid in range(9, 0, -1)]
    assert [client.vif.domid for client in Clients.of(both) if client.vif] == list(range(1, 10))


def test_a_list_has_up_to_3071_characters() -> None:
    text = " ".join(f"10.137.1{i // 90:02}.{i % 90 + 100}" for i in range(203))
    last = "1.1.1.10,00:16:3e:5e:6c:01"
    whole = f"{text} {last}"
    assert len(whole) == 3071
    assert len(str(Clients.parse(whole))) == 3071
    with pytest.raises(InvalidValue, match="at most 3071"):
        Clients.parse(f"{text} 1{last}")


@pytest.mark.parametrize(
    "text", [" ", "10.137.0.12  10.137.0.13", "10.137.0.12\n", "10.137.0.12 10.137.0.12", "10.137.0.12," * 300]
)
def test_a_list_that_is_not_whole_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        Clients.parse(text)


def test_one_address_may_be_on_two_interfaces_while_a_client_is_started_again() -> None:
    both = Clients.parse("10.137.0.12,,vif5.0 10.137.0.12,,vif6.0")
    assert len(both.members) == 2


def test_there_are_no_more_than_a_value_holds() -> None:
    many = [Client.of(f"10.137.{i // 250}.{i % 250 + 1}") for i in range(400)]
    with pytest.raises(InvalidValue, match=f"at most {LIMIT}"):
        Clients.of(many)
