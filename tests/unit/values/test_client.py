"""The clients of a provider, as the text of one key."""

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.client import LIMIT, Client, Clients, Vif

TEXT = "10.137.0.12,00:16:3e:5e:6c:01,vif5.0 10.137.0.13 10.137.0.14,,vif6.0 fd09::c,00:16:3e:5e:6c:01"


def test_what_was_read_is_rendered_in_order_of_the_addresses():
    assert str(Clients.parse(TEXT)) == TEXT
    assert str(Clients.parse("10.137.0.13 10.137.0.2 fd09::c")) == "10.137.0.2 10.137.0.13 fd09::c"


def test_the_order_is_not_of_importance():
    assert Clients.parse("10.137.0.13 10.137.0.2") == Clients.parse("10.137.0.2 10.137.0.13")


def test_the_empty_text_is_nobody():
    assert Clients.parse("") == Clients()
    assert str(Clients()) == ""


def test_an_interface_tells_domain_and_device():
    assert Vif.parse("vif5.1") == Vif(5, 1)
    assert str(Vif(5, 1)) == "vif5.1"


@pytest.mark.parametrize(
    "name",
    ["eth0", "vif5", "vif05.0", "vif5.0-emu", "vif-5.0", 'vif5.0"', "vif123456.0", "VIF5.0", "vif\u0665.0"],
)
def test_the_name_of_no_other_interface_passes_for_a_clients(name):
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
def test_a_fault_names_the_part(text, where):
    with pytest.raises(InvalidValue) as refused:
        Client.parse(text)
    assert refused.value.where == where


@pytest.mark.parametrize(
    "text", [" ", "10.137.0.12  10.137.0.13", "10.137.0.12\n", "10.137.0.12 10.137.0.12", "10.137.0.12," * 300]
)
def test_a_list_that_is_not_whole_is_refused(text):
    with pytest.raises(InvalidValue):
        Clients.parse(text)


def test_one_address_may_be_on_two_interfaces_while_a_client_is_started_again():
    both = Clients.parse("10.137.0.12,,vif5.0 10.137.0.12,,vif6.0")
    assert len(both.members) == 2


def test_there_are_no_more_than_a_value_holds():
    many = [Client.of(f"10.137.{i // 250}.{i % 250 + 1}") for i in range(400)]
    with pytest.raises(InvalidValue, match=f"at most {LIMIT}"):
        Clients.of(many)
