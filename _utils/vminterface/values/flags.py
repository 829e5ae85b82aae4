"""Yes and no, in the three spellings that are in use: ``True``/``False``, ``1``/``0``, and the words of an admin.

``qubes-vm-updateable`` and ``qubes-gui-enabled`` hold ``True`` or ``False``, ``qubes-debug-mode`` holds ``1`` or ``0``
(vm-interface document). Readers in VMs compare for exact equality, hence no other spelling is accepted here.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, kind_of, printable
from vminterface.values import schema

_WORDS = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
#: What :func:`from_word` takes.
SCHEMA = schema.any_of(schema.BOOLEAN, schema.one_of(0, 1), schema.text(schema.any_case(_WORDS)))


def parse_true_false(text: str) -> bool:
    """Read exactly ``True`` or ``False``. Raises InvalidValue."""
    if text not in ("True", "False"):
        raise InvalidValue(f"'{printable(text, 60)}' is neither 'True' nor 'False'")
    return text == "True"


def render_true_false(value: bool) -> str:
    """Return ``True`` or ``False``."""
    return "True" if value else "False"


def parse_one_zero(text: str) -> bool:
    """Read exactly ``1`` or ``0``. Raises InvalidValue."""
    if text not in ("1", "0"):
        raise InvalidValue(f"'{printable(text, 60)}' is neither '1' nor '0'")
    return text == "1"


def render_one_zero(value: bool) -> str:
    """Return ``1`` or ``0``."""
    return "1" if value else "0"


def from_word(word: str | int) -> bool:
    """Read what an admin writes in pillar or on a command line: on, off, true, false, 1, 0 or a YAML boolean.

    Upper and lower case are the same. Raises InvalidValue.
    """
    if isinstance(word, str):
        value = _WORDS.get(word.lower())
    else:
        value = bool(word) if isinstance(word, int) and word in (0, 1) else None
    if value is None:
        raise InvalidValue(f"{found(word)} is neither 'on' nor 'off' (nor true, false, 1, 0)")
    return value


def found(word: object) -> str:
    """Return how a fault speaks of *word*, which YAML may have made into anything."""
    return f"'{printable(word, 60)}'" if isinstance(word, str) else f"a value of type {kind_of(word)}"
