"""Names that dom0 gives: a VM's own (``name``) and that of its default user (``default-user``).

The rules are those of Qubes core-admin (R4), which hold for older releases too.
"""

from __future__ import annotations

from typing import Final

from vminterface.errors import InvalidValue, printable, printable_value
from vminterface.regex import regex
from vminterface.value import Value
from vminterface.values import schema

_NAME = regex(r"[A-Za-z][A-Za-z0-9_.-]{0,30}")
_RESERVED = ("none", "default", "Domain-0")
#: What dom0 is called: by Qubes, by Xen, by its domid, and by the policy of services.
_DOM0 = ("dom0", "Domain-0", "0", "@adminvm")
#: A leading ``-`` would be an option to every tool that gets the name.
_USER = regex(r"[A-Za-z0-9_+,.][A-Za-z0-9_+,.-]{0,31}")
#: What :meth:`VMName.parse` takes, the same without what dom0 goes by, and what :func:`parse_default_user` takes.
SCHEMA = schema.text(_NAME.pattern, not_like=f"^(?:{'|'.join(_RESERVED)})$|-dm$")
NOT_DOM0 = schema.text(_NAME.pattern, not_like=f"^(?:{'|'.join((*_RESERVED, *_DOM0))})$|-dm$")
USER_SCHEMA = schema.text(_USER.pattern)


class VMName(Value):
    """A VM's name, which is also its host name."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text: Final = text

    @classmethod
    def parse(cls, text: str) -> VMName:
        """Read a name: 1 to 31 characters, a letter first, then letters, digits, ``_``, ``.``, ``-``.

        Names that end in ``-dm`` belong to stub domains; ``none``, ``default`` and ``Domain-0`` have meanings of
        their own. Raises InvalidValue.
        """
        if not _NAME.fullmatch(text):
            raise InvalidValue(
                f"'{printable(text, 60)}' is not a valid VM name (expected a letter, then letters, digits, '_', '.'"
                f" or '-',"
                " 31 characters at most)"
            )
        if text in _RESERVED or text.endswith("-dm"):
            raise InvalidValue(
                f"'{text}' is a reserved VM name (expected none of {', '.join(_RESERVED)}, and not ending with '-dm')"
            )
        return cls(text)

    def render(self) -> str:
        """Return the key's text."""
        return self.text


def is_dom0(name: object) -> bool:
    """Return whether *name*, of any type, is one that dom0 itself goes by."""
    return (isinstance(name, str) and name in _DOM0) or (type(name) is int and name == 0)


def refuse_dom0(name: object, where: str = "") -> None:
    """Raise InvalidValue if *name* is one that dom0 itself goes by: it configures VMs, and must never be taken for one.

    Its QubesDB has a socket like that of a VM, and its XenStore keys a folder like theirs.
    """
    if is_dom0(name):
        raise InvalidValue(f"'{name}' is dom0 itself, which is not a VM (expected a VM's name)", where)


def parse_default_user(text: str) -> str:
    """Read a user's name: letters, digits, ``_ - + , .``, 32 at most, no ``-`` first. Raises InvalidValue."""
    if not isinstance(text, str):
        raise InvalidValue(f"{printable_value(text, 40)} is not a user name (expected text; quote it)")
    if not _USER.fullmatch(text):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid user name (expected 1 to 32 letters, digits, '_', '-', '+', ','"
            " or '.', not starting with '-')"
        )
    return text
