"""A template that a repository offers: a row of what ``qubes.TemplateSearch`` answers.

Eleven fields, each followed by ``|``, a line's end after the last one. Sources: Qubes core-agent-linux
``qvm-template-repo-query`` (the fields), core-admin-client ``qvm_template.py`` (what dom0 takes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

#: What the packages of templates begin with.
PREFIX = "qubes-template-"
#: The fields, in dnf's words and in the order of a row.
FIELDS = (
    "name", "epoch", "version", "release", "repoid", "downloadsize", "buildtime", "license", "url", "summary",
    "description",
)  # fmt: skip
#: Bytes of an answer: a few hundred templates with long descriptions.
REPLY_LIMIT = 1 << 22
#: Rows of an answer.
ROW_LIMIT = 10_000
_NAME = regex(r"[A-Za-z0-9._+][A-Za-z0-9._+-]{0,254}\Z", re.ASCII)
_PART = regex(r"[A-Za-z0-9._+~^]{1,64}\Z", re.ASCII)
_SIZE = regex(r"[0-9]{1,15}\Z", re.ASCII)
_SECONDS = regex(r"[0-9]{1,11}\Z", re.ASCII)
_DATE = regex(r"\d{4}-\d{1,2}-\d{1,2} \d{1,2}:\d{1,2}\Z", re.ASCII)
_SHOWN = 4096


@dataclass(frozen=True, slots=True)
class Template:
    """One row, checked. *name* is without PREFIX, *size* in bytes; the last four are printable ASCII."""

    name: str
    epoch: str
    version: str
    release: str
    repository: str
    size: int
    built: datetime
    license: str
    url: str
    summary: str
    description: str

    @property
    def package(self) -> str:
        """The package's full name, which only this one has."""
        return f"{PREFIX}{self.name}-{self.epoch}:{self.version}-{self.release}"


def parse_reply(untrusted_reply: bytes) -> list[Template]:
    """Read all rows; packages that are not templates are skipped.

    Raises InvalidValue for a template's row of another form, and for an answer that has no row at all, only other text.
    """
    rows = untrusted_reply.decode("latin-1").split("|\n")
    if len(rows) > ROW_LIMIT:
        raise InvalidValue(f"there are too many templates (expected at most {ROW_LIMIT})")
    found, is_other = [], False
    for row in rows:
        # dnf 5 ends each row itself, and dnf 4 does it beside the format.
        untrusted_fields = row.removesuffix("|").split("|")
        if row.strip() and untrusted_fields[0].lstrip("\n").startswith(PREFIX):
            found.append(_parse(untrusted_fields))
        elif row.strip():
            is_other = is_other or len(untrusted_fields) != len(FIELDS)
    if is_other and not found:
        shown = printable(untrusted_reply[:60].decode("latin-1").strip(), 60)
        raise InvalidValue(f"'{shown}' is not a valid list of templates (expected rows of {len(FIELDS)} fields)")
    return found


def _parse(untrusted_fields: list[str]) -> Template:
    if len(untrusted_fields) != len(FIELDS):
        shown = printable("|".join(untrusted_fields), 60)
        raise InvalidValue(f"'{shown}' is not a valid row of a template (expected {len(FIELDS)} fields)")
    untrusted = dict(zip(FIELDS, untrusted_fields, strict=True))
    name = untrusted["name"].lstrip("\n").removeprefix(PREFIX)
    for key, value, pattern in (
        ("name", name, _NAME),
        *((key, untrusted[key], _PART) for key in ("epoch", "version", "release")),
        ("repository", untrusted["repoid"], _NAME),
        ("size", untrusted["downloadsize"], _SIZE),
    ):
        if not pattern.match(value):
            raise InvalidValue(f"'{printable(value, 60)}' is not a valid {key} of a template")
    texts = [printable(untrusted[key], _SHOWN) for key in ("license", "url", "summary", "description")]
    return Template(
        name, untrusted["epoch"], untrusted["version"], untrusted["release"], untrusted["repoid"],
        int(untrusted["downloadsize"]), _moment(untrusted["buildtime"]), *texts,
    )  # fmt: skip


def _moment(text: str) -> datetime:
    try:
        if _SECONDS.match(text):
            return datetime.fromtimestamp(int(text), UTC)
        if _DATE.match(text):
            return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise InvalidValue(f"'{printable(text, 60)}' is not a valid time of a template's build")
