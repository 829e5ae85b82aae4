"""Addresses of hosts, one spelling each."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import schema
from vminterface.values.address import (
    IPV4,
    IPV6,
    MAC,
    MAC_SCHEMA,
    NETMASK,
    Netmask,
    parse_ipv4,
    parse_ipv6,
    parse_mac,
    parse_netmask,
    render,
)

HOSTS4 = st.integers(0x01000000, 0xDFFFFFFF).filter(lambda n: n >> 24 != 127)


@given(HOSTS4)
def test_every_ipv4_host_comes_back_as_written(number: Any) -> None:
    text = str(ipaddress.IPv4Address(number))
    assert render(parse_ipv4(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.137.0",
        "10.137.0.1.2",
        "256.1.1.1",
        "10.137.0.01",
        "010.1.1.1",
        "10.137.0.1 ",
        " 10.137.0.1",
        "10.137.0.1\n",
        "10.137.0.1/24",
        "0x0a.1.1.1",
        "167772161",
        "10.1",
        "\u0661\u0660.0.0.1",
        "\uff11.2.3.4",
        "10.-1.0.1",
        "10.137.0.+1",
        "::1",
        "::ffff:10.0.0.1",
        "localhost",
        "10,0,0,1",
        "1.2.3.4%eth0",
        "10..0.1",
    ],
)
def test_what_is_not_four_plain_numbers_is_no_ipv4_address(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid IPv4 address"):
        parse_ipv4(text)


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"]
)
def test_an_ipv4_address_that_no_host_can_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a host address"):
        parse_ipv4(text)


@given(st.integers(1 << 112, (0xFF << 120) - 1))
def test_every_ipv6_host_comes_back_in_its_short_form(number: Any) -> None:
    text = str(ipaddress.IPv6Address(number))
    assert render(parse_ipv6(text)) == text


def test_two_spellings_of_an_ipv6_address_are_the_same_value() -> None:
    assert parse_ipv6("FD09:24EF:4179:0000::0A89:3") == parse_ipv6("fd09:24ef:4179::a89:3")


@pytest.mark.parametrize("text", ["fe80::fcff:ffff:feff:ffff", "fd09:24ef:4179::a89:3", "2001:db8::1"])
def test_link_local_private_and_global_ipv6_hosts_are_accepted(text: str) -> None:
    assert render(parse_ipv6(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "fe80::1%eth0",
        "fe80::1%1",
        "fd00::1/64",
        "fd00::1 ",
        "fd00::1\n",
        "1::2::3",
        "fd00:::1",
        "12345::",
        "g::1",
        "fd00::10.0.0.1",
        "::ffff:10.0.0.1",
        "10.0.0.1",
        "fd00::\u0661",
        "[fd00::1]",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
    ],
)
def test_scopes_ipv4_tails_and_malformed_texts_are_no_ipv6_addresses(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid IPv6 address"):
        parse_ipv6(text)


@pytest.mark.parametrize(
    "text", ["::", "::1", "ff02::1", "ff00::", "::ffff:a00:1", "::a00:1", "0:0:0:0:0:FFFF:0A00:0001"]
)
def test_an_ipv6_address_that_no_host_can_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a host address"):
        parse_ipv6(text)


@pytest.mark.parametrize("prefix", range(1, 33))
def test_a_netmask_as_a_number_is_rendered_dotted_and_read_again(prefix: int) -> None:
    dotted = render(parse_netmask(str(prefix)))
    assert dotted == str(ipaddress.IPv4Network(f"0.0.0.0/{prefix}").netmask)
    assert parse_netmask(dotted) == Netmask(prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "33",
        "-1",
        "024",
        "24 ",
        "/24",
        "255.0.255.0",
        "0.0.0.255",
        "255.255.255.254.0",
        "255.255.255.256",
        "255.255.1.0",
        "255.255.255.0\n",
        "\u0662\u0664",
        "\u00b2",
        "ffffff00",
        "255.255.255.00",
        "0",
        "0.0.0.0",
    ],
)
def test_masks_with_gaps_and_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid netmask"):
        parse_netmask(text)


@given(st.binary(min_size=6, max_size=6).filter(lambda octets: any(octets) and not octets[0] & 1))
def test_every_unicast_mac_comes_back_as_written(octets: Any) -> None:
    text = octets.hex(":")
    assert render(parse_mac(text)) == text


def test_a_mac_in_capitals_is_the_same_value() -> None:
    assert parse_mac("00:16:3E:5E:6C:00") == MAC("00:16:3e:5e:6c:00")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00:16:3e:5e:6c",
        "00:16:3e:5e:6c:00:00",
        "00-16-3e-5e-6c-00",
        "00163e5e6c00",
        "0:16:3e:5e:6c:0",
        "00:16:3e:5e:6c:0g",
        "00:16:3e:5e:6c:00\n",
        "\u0660\u0660:16:3e:5e:6c:00",
    ],
)
def test_other_texts_are_no_mac(text: str) -> None:
    with pytest.raises(InvalidValue, match="not a valid MAC address"):
        parse_mac(text)


@pytest.mark.parametrize("text", ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "00:00:00:00:00:00"])
def test_a_mac_that_no_interface_has_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="not the MAC address of an interface"):
        parse_mac(text)


def taken_by(form: schema.Schema, *texts: str) -> list[str]:
    return [text for text in texts if Draft202012Validator(form).is_valid(text)]


@given(HOSTS4)
def test_the_schema_of_ipv4_takes_every_host(number: Any) -> None:
    assert taken_by(IPV4, text := str(ipaddress.IPv4Address(number))) == [text]


def test_the_schema_of_ipv4_refuses_what_no_host_can_have_and_what_is_no_address() -> None:
    hosts = ["1.0.0.0", "9.99.100.199", "126.0.0.200", "128.249.0.250", "223.255.255.255"]
    assert taken_by(IPV4, *hosts) == hosts
    assert taken_by(IPV4, "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255") == []
    assert taken_by(IPV4, "", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.04", "1.2.3.4 ", "1.2.3.300", "a.2.3.4") == []


def test_the_schemas_of_ipv6_netmasks_and_macs_take_what_the_parsers_take() -> None:
    good6, bad6 = ["fd09:24ef:4179::a89:3", "FE80::1", "2001:db8::1"], ["", ":", "10.0.0.1", "fe80::1%1", "g::1", "a"]
    assert taken_by(IPV6, *good6, *bad6) == good6
    masks = ["1", "9", "10", "29", "32", "255.255.255.255", "128.0.0.0", "255.255.240.0"]
    assert taken_by(NETMASK, *masks, "0", "33", "024", "0.0.0.0", "255.0.255.0", "/24", "") == masks
    macs = ["00:16:3e:5e:6c:00", "02:16:3E:5E:6C:FF"]
    assert (
        taken_by(MAC_SCHEMA, *macs, "01:00:5e:00:00:01", "0f:16:3e:5e:6c:00", "00163e5e6c00", "0:16:3e:5e:6c:0") == macs
    )
