"""The label of a VM on Qubes: the colour that its windows, icon and lock have in dom0.

Eight labels are always there, each also by its number; an admin may make others (Qubes core-admin, ``get_label`` and
``admin.label.Create``).
"""

from __future__ import annotations

from dataclasses import dataclass

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.values import schema

#: The labels of every Qubes, in the order of their numbers, which begin with 1.
STOCK = ("red", "orange", "yellow", "green", "gray", "blue", "purple", "black")
_FORM = regex(r"[A-Za-z0-9_.-]{1,64}")
#: What :meth:`Label.parse` takes; the words of every Qubes come first, for editors.
SCHEMA = schema.any_of(
    schema.one_of(*STOCK),
    schema.text(_FORM.pattern, not_like=rf"^(?:(?![1-{len(STOCK)}]$)[0-9]+|{schema.any_case(STOCK)})$"),
)


@dataclass(frozen=True, slots=True)
class Label:
    """A label by its name."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Label:
        """Read a name, or the number of a label that every Qubes has. Raises InvalidValue."""
        if text.isascii() and text.isdigit():
            if not (len(text) == 1 and 1 <= int(text) <= len(STOCK)):
                raise InvalidValue(
                    f"'{printable(text, 40)}' is not a valid label (expected a name, or 1 to {len(STOCK)})"
                )
            return cls(STOCK[int(text) - 1])
        if not _FORM.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid label (expected {', '.join(STOCK)}, or the name of one of your"
                " own: letters, digits, '_', '.', '-')"
            )
        if text not in STOCK and text.lower() in STOCK:
            raise InvalidValue(f"'{text}' is not a valid label (did you mean '{text.lower()}'?)")
        return cls(text)

    def render(self) -> str:
        """Return the name."""
        return self.text
