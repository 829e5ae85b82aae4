"""What a feature of a VM in qubesd may be: a flag, a number, one of some words, a list, or any text.

qubesd keeps texts alone: an empty one is off, any other is on, ``0`` and ``False`` too (Qubes core-admin,
``qubes/features.py``). Those who read a feature take it for a flag or for a text, each its own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable, printable_value
from vminterface.values import flags, schema
from vminterface.values.schema import Schema

#: A flag, or the normal form of a text.
Value = bool | str
_ON, _OFF = "1", ""
_NUMBER: Schema = {"type": "number"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of feature. *expected* describes in words what it may be."""

    expected: str
    #: From a text to its normal form; raises InvalidValue. None: it is a flag.
    normal: Callable[[str], str] | None = None
    #: Whether the pillar may have a list of words, which a blank separates in the text.
    listed: bool = False
    #: Whether a flag in the pillar is right too.
    flag_too: bool = False
    #: What it may be that is no flag, a number for its digits too; None: any text.
    form: Schema | None = None

    @property
    def schema(self) -> Schema:
        """What :meth:`from_pillar` takes."""
        if self.normal is None:
            return flags.SCHEMA
        form = self.form or schema.any_of(schema.text(), _NUMBER)
        lists = [schema.listed(schema.text(r"[^ ]+"))] if self.listed else []
        return schema.any_of(*([schema.BOOLEAN] if self.flag_too else []), form, *lists)

    def parse(self, text: str) -> Value:
        """Read the text that qubesd has. Raises InvalidValue, for a flag never."""
        if self.normal is None or (self.flag_too and text in (_ON, _OFF)):
            return text != _OFF
        return self.normal(text)

    def from_pillar(self, value: object) -> Value:
        """Read what an admin writes: on and off for a flag, else text, a number or a list. Raises InvalidValue."""
        if self.normal is None or (self.flag_too and isinstance(value, bool)):
            if isinstance(value, str | int):
                return flags.from_word(value)
            raise InvalidValue(f"'{printable_value(value)}' is not valid (expected {self.expected})")
        if self.listed and isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
            if wrong := [one for one in value if " " in one or not one]:
                raise InvalidValue(f"'{printable(wrong[0], 60)}' cannot be in a list (expected a word without blanks)")
            return self.normal(" ".join(value))
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidValue(f"'{printable_value(value)}' is not valid (expected {self.expected})")
        return self.parse(value if isinstance(value, str) else printable_value(value, 80))


def render(value: Value) -> str:
    """Return the text for qubesd."""
    return value if isinstance(value, str) else _ON if value else _OFF


def number(least: int, most: int | None = None, what: str = "a number") -> Kind:
    """Return the kind of whole numbers from *least* to *most*."""
    limit = f"{least} or more" if most is None else f"{least} to {most}"
    expected = f"{what}, {limit}"

    def normal(text: str) -> str:
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise InvalidValue(f"'{printable(text, 40)}' is not a whole number (expected {expected})")
        if not (least <= int(text) and (most is None or int(text) <= most)):
            raise InvalidValue(f"'{text}' is out of range (expected {expected})")
        return str(int(text))

    return Kind(expected, normal, form=schema.any_of(schema.number(least, most), schema.text("[0-9]{1,9}")))


def one_of(*words: str, why: str = "") -> Kind:
    """Return the kind of *words* as they are; *why* is added to the message of an error."""
    expected = words[0] if len(words) == 1 else f"one of {', '.join(words)}"

    def normal(text: str) -> str:
        if text not in words:
            raise InvalidValue(f"'{printable(text, 40)}' is not a valid value (expected {expected}{why})")
        return text

    return Kind(expected, normal, form=schema.one_of(*words))


def form(expected: str, pattern: str, schema_pattern: str = "") -> Kind:
    """Return the kind of texts that match *pattern* whole; *schema_pattern* is the same without Python's own words."""
    compiled = re.compile(pattern, re.ASCII)

    def normal(text: str) -> str:
        if not compiled.fullmatch(text):
            raise InvalidValue(f"'{printable(text, 60)}' is not valid here (expected {expected})")
        return text

    return Kind(expected, normal, form=schema.any_of(schema.text(schema_pattern or pattern), _NUMBER))


def parsed(expected: str, parse: Callable[[str], object], form: Schema) -> Kind:
    """Return the kind of texts of *form* that *parse* reads into something whose ``str`` is their normal form."""
    return Kind(expected, lambda text: str(parse(text)), form=schema.any_of(form, _NUMBER))


def words(expected: str, pattern: str) -> Kind:
    """Return the kind of lists of words, each of which matches *pattern* whole; one blank is between two of them."""
    compiled = re.compile(pattern, re.ASCII)

    def normal(text: str) -> str:
        found: Sequence[str] = text.split(" ") if text else []
        for word in found:
            if not compiled.fullmatch(word):
                raise InvalidValue(f"'{printable(word, 60)}' is not valid in this list (expected {expected})")
        return text

    several = rf"(?:(?:{pattern})(?: (?:{pattern}))*)?"
    return Kind(expected, normal, listed=True, form=schema.any_of(schema.text(several), _NUMBER))


FLAG = Kind("on or off")
TEXT = Kind("text", lambda text: text)
#: Of features that nobody here knows: whoever reads one may take it for either.
ANY = Kind("on, off, a number or text", lambda text: text, flag_too=True)
