"""The domains in which a VM searches for a name without a dot; the key's text has them with one space between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import schema

LIMIT = 16
#: Characters of all of them together, far below what QubesDB takes for a value.
_TOTAL = 1024
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_FORM = regex(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
#: A list of what :func:`parse_domain` takes.
SCHEMA = schema.listed(schema.text(_FORM.pattern.replace("a-z", "A-Za-z"), most=253), most=LIMIT)


def parse_domain(text: str) -> str:
    """Return one domain in lower case. Raises InvalidValue."""
    domain = text.lower() if text.isascii() else text
    if not _FORM.fullmatch(domain):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a domain name (expected one such as corp.example.org, without a dot at"
            " either end)"
        )
    return domain


class SearchDomains(Value):
    """The domains in the order in which they are tried."""

    __slots__ = ("members",)

    def __init__(self, members: tuple[str, ...]) -> None:
        self.members: Final = members

    @classmethod
    def parse(cls, text: str) -> SearchDomains:
        """Read the key's text. Raises InvalidValue."""
        return cls.of(text.split(" ", LIMIT))

    @classmethod
    def of(cls, texts: Iterable[str]) -> SearchDomains:
        """Return these domains. Raises InvalidValue."""
        members = tuple(map(parse_domain, texts))
        if not 0 < len(members) <= LIMIT:
            raise InvalidValue(f"{len(members)} search domains (expected 1 to {LIMIT})")
        if len(" ".join(members)) > _TOTAL:
            raise InvalidValue(f"the search domains are too long (expected at most {_TOTAL} characters in all)")
        return cls(members)

    def __str__(self) -> str:
        return " ".join(self.members)
