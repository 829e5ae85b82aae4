"""The domains that a VM searches: in their order, in lower case, within what a key holds."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from vminterface.errors import InvalidValue
from vminterface.values.searchdomains import LIMIT, SCHEMA, SearchDomains, parse_domain

LABEL = "a" * 63


@pytest.mark.parametrize("text", ["example.org", "corp.example.org home", "a", "_tcp.b-1.c", f"{LABEL}.x", "x--y"])
def test_domains_come_back_from_the_keys_text_in_their_order(text: str) -> None:
    found = SearchDomains.parse(text)
    assert found.members == tuple(text.split(" "))
    assert str(found) == text


def test_upper_case_means_the_same() -> None:
    assert parse_domain("Corp.EXAMPLE.org") == "corp.example.org"
    assert SearchDomains.of(["A.B", "c"]) == SearchDomains.parse("a.b c")


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "a_b.c-", "a b", "a,b", "a/b", "a\n", "caf\u00e9",
     "\u212a", f"{LABEL}a"],
)  # fmt: skip
def test_what_is_not_a_domain_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a domain name"):
        parse_domain(text)


def test_a_domain_has_at_most_253_characters() -> None:
    longest = ".".join([LABEL] * 3 + ["b" * 61])
    assert len(longest) == 253
    assert parse_domain(longest) == longest
    with pytest.raises(InvalidValue, match="is not a domain name"):
        parse_domain(f"{longest}b")


def test_there_are_one_to_sixteen() -> None:
    assert LIMIT == 16
    assert len(SearchDomains.parse(" ".join("abcdefghijklmnop")).members) == 16
    for texts in ([], list("abcdefghijklmnopq")):
        with pytest.raises(InvalidValue, match=f"{len(texts)} search domains"):
            SearchDomains.of(texts)
    with pytest.raises(InvalidValue, match="17 search domains"):
        SearchDomains.parse(" ".join("abcdefghijklmnopq"))


def test_together_they_have_at_most_1024_characters() -> None:
    long = [".".join([LABEL] * 3 + ["b" * 61])] * 4
    assert len(str(SearchDomains.of([*long, "c" * 8]))) == 1024
    with pytest.raises(InvalidValue, match="too long"):
        SearchDomains.of([*long, "c" * 9])


@pytest.mark.parametrize("text", ["", " a", "a ", "a  b", "a\tb", "a\nb"])
def test_one_space_is_between_two_domains(text: str) -> None:
    with pytest.raises(InvalidValue, match="is not a domain name"):
        SearchDomains.parse(text)


def test_the_schema_takes_a_list_of_domains_in_either_case() -> None:
    valid = Draft202012Validator(SCHEMA).is_valid
    longest = ".".join([LABEL] * 3 + ["b" * 61])
    assert all(map(valid, [[], ["example.org", "Home"], ["_tcp.b-1.c"] * 16, [longest]]))
    wrong = [["a"] * 17, "a", ["a."], ["-a"], ["a b"], [f"{longest}b"], [""], [5]]
    assert not any(map(valid, wrong))
