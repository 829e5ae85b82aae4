"""What a feature may be: from the pillar's value and from qubesd's text to one value, and back."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values import featurekind
from vminterface.values.address import IPV4, NETMASK, parse_ipv4, parse_netmask
from vminterface.values.featurekind import ANY, FLAG, TEXT, Kind, form, number, one_of, parsed, words

RIGHT: list[tuple[Kind, Any, str]] = [
    (FLAG, True, "1"),
    (FLAG, "on", "1"),
    (FLAG, 1, "1"),
    (FLAG, False, ""),
    (FLAG, "off", ""),
    (TEXT, "a text", "a text"),
    (TEXT, 12, "12"),
    (TEXT, "x" * 100, "x" * 100),
    (TEXT, "caf\u00e9", "caf\u00e9"),
    (parsed("a netmask", parse_netmask, NETMASK), 24, "255.255.255.0"),
    (words("numbers", "[0-9]+"), 12, "12"),
    (number(0), 45, "45"),
    (number(0), "045", "45"),
    (number(256, 256000), 256, "256"),
    (number(1, 9), 9, "9"),
    (number(1, 9), "000000001", "1"),
    (form("seconds", r"-?[0-9]+(\.[0-9]+)?"), 2.5, "2.5"),
    (one_of("bg", "tint"), "bg", "bg"),
    (words("words", "[a-z]+"), ["a", "b"], "a b"),
    (words("words", "[a-z]+"), "a b", "a b"),
    (words("words", "[a-z]+"), ("a", "b"), "a b"),
    (words("words", "[a-z]+"), [], ""),
    (words("words", "[a-z]+"), "", ""),
    (parsed("an address", parse_ipv4, IPV4), "10.0.0.7", "10.0.0.7"),
    (ANY, True, "1"),
    (ANY, False, ""),
    (ANY, 3, "3"),
    (ANY, "off", "off"),
]


@pytest.mark.parametrize(("kind", "value", "text"), RIGHT)
def test_what_an_admin_writes_becomes_the_text_of_qubesd(kind: Kind, value: Any, text: str) -> None:
    assert featurekind.render(kind.from_pillar(value)) == text


WRONG: list[tuple[Kind, Any]] = [
    (FLAG, "maybe"),
    (FLAG, ["on"]),
    (FLAG, 2),
    (TEXT, True),
    (TEXT, {"a": 1}),
    (TEXT, None),
    (number(1, 9), 0),
    (number(1, 9), 10),
    (number(1), "-1"),
    (number(1), "1e3"),
    (number(1), "\u0661"),
    (number(1), True),
    (one_of("bg", "tint"), "BG"),
    (words("words", "[a-z]+"), ["a b"]),
    (words("words", "[a-z]+"), "a  b"),
    (words("words", "[a-z]+"), [1]),
    (words("words", "[a-z]+"), [""]),
    (parsed("an address", parse_ipv4, IPV4), "10.0.0"),
    (form("a word", "[a-z]+"), "ab1"),
    (form("a word", "[a-z]+"), "1ab"),
    (ANY, ["a"]),
    (ANY, None),
]
#: What the schema takes, and the parser does not.
WRONG_BEYOND_ITS_FORM: list[tuple[Kind, Any]] = [
    (number(1), "0000000001"),
    (number(1), 10**9),
    (words("words", "[a-z]+"), ["A"]),
    (words("words", r"\w+"), ["caf\u00e9"]),
    (form("a word", r"\w+"), "caf\u00e9"),
]


@pytest.mark.parametrize(("kind", "value"), WRONG + WRONG_BEYOND_ITS_FORM)
def test_what_does_not_fit_is_refused_with_what_was_expected(kind: Kind, value: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind.from_pillar(value)
    assert "expected" in str(caught.value) or "neither" in str(caught.value)


@pytest.mark.parametrize(("kind", "value", "text"), RIGHT)
def test_the_schema_takes_what_the_parser_takes(kind: Kind, value: Any, text: str) -> None:
    valid = Draft202012Validator(kind.schema).is_valid
    # A schema knows lists, no tuples.
    assert valid(list(value) if isinstance(value, tuple) else value)
    # An editor displays that text when the admin writes it in place of the value.
    assert valid(text) or kind is FLAG or isinstance(kind.parse(text), bool)


@pytest.mark.parametrize(("kind", "value"), WRONG)
def test_the_schema_refuses_what_has_another_form(kind: Kind, value: Any) -> None:
    assert not Draft202012Validator(kind.schema).is_valid(value)


@pytest.mark.parametrize("text", ["1", "0", "True", "False", "off"])
def test_every_text_but_an_empty_one_is_on(text: str) -> None:
    assert FLAG.parse(text) is True
    assert FLAG.parse("") is False


def test_a_text_that_is_a_flags_is_a_flag_where_a_flag_is_right_too() -> None:
    assert ANY.parse("1") is True
    assert ANY.parse("") is False
    assert ANY.parse("0") == "0"
    assert TEXT.parse("1") == "1"
    assert TEXT.parse("") == ""


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (number(1, 9), 10, "'10' is out of range (expected a number, 1 to 9)"),
        (number(1), "0", "'0' is out of range (expected a number, 1 or more)"),
        (number(0, what="seconds"), "soon", "'soon' is not a whole number (expected seconds, 0 or more)"),
        (one_of("bg", "tint"), "fg", "'fg' is not a valid value (expected one of bg, tint)"),
        (one_of("allow", why="; no other"), "no", "'no' is not a valid value (expected allow; no other)"),
        (words("words", "[a-z]+"), ["a", "b c"], "'b c' cannot be in a list (expected a word without blanks)"),
        (words("words", "[a-z]+"), ["a", ""], "'' cannot be in a list (expected a word without blanks)"),
        (words("small words", "[a-z]+"), "a B", "'B' is not valid in this list (expected small words)"),
        (words("words", "[a-z]+"), ["a", 1], "'['a', 1]' is not valid (expected words)"),
        (form("a word", "[a-z]+"), ["a"], "'['a']' is not valid (expected a word)"),
        (TEXT, True, "'True' is not valid (expected text)"),
    ],
)
def test_the_message_names_the_wrong_part_and_what_is_expected(kind: Kind, value: Any, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        kind.from_pillar(value)
    assert str(caught.value) == message


def test_a_form_may_have_a_pattern_of_its_own_for_the_schema() -> None:
    kind = form("a word in either case", "(?i:ab)", "[aA][bB]")
    assert kind.from_pillar("aB") == "aB"
    assert [one["pattern"] for one in kind.schema["anyOf"] if "pattern" in one] == ["^(?:[aA][bB])$"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FLAG, "on or off"),
        (TEXT, "text"),
        (ANY, "on, off, a number or text"),
        (number(1, 9), "a number, 1 to 9"),
        (number(0, what="seconds"), "seconds, 0 or more"),
        (one_of("allow"), "allow"),
        (one_of("bg", "tint"), "one of bg, tint"),
        (form("a word", "[a-z]+"), "a word"),
        (words("small words", "[a-z]+"), "small words"),
        (parsed("an address", parse_ipv4, IPV4), "an address"),
    ],
)
def test_a_kind_says_in_words_what_it_may_be(kind: Kind, expected: str) -> None:
    assert kind.expected == expected
