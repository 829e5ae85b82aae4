"""Who may read and write a node: an owner with a default for all others, then exceptions.

Xen's ``docs/misc/xenstore.txt`` (SET_PERMS) defines the notation: ``n0 r3`` is owned by domain 0, closed to others,
readable to domain 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

READ, WRITE, OWNER = 1, 2, 4
ALL = READ | WRITE | OWNER
_LETTERS = {"n": 0, "r": READ, "w": WRITE, "b": READ | WRITE}
#: Domids from here on are reserved by Xen (DOMID_FIRST_RESERVED in xen/include/public/xen.h).
DOMID_MAX = 0x7FF0


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry. ``void``: its domain was not there when the entry was made, or is gone since; it counts for nothing,
    so that a later domain with the same number does not inherit it.
    """

    letter: str
    domid: int
    void: bool = False

    @classmethod
    def parse(cls, text: str) -> Permission:
        """Read ``r3``. Raises ValueError."""
        letter, digits = text[:1], text[1:]
        if letter not in _LETTERS or not re.fullmatch(r"-?[0-9]+", digits):
            raise ValueError(f"{text!r} is no permission")
        return cls(letter, int(digits))

    def render(self) -> str:
        """Return the notation."""
        return f"{self.letter}{self.domid}"

    @property
    def access(self) -> int:
        """What the entry allows: a sum of READ and WRITE."""
        return _LETTERS[self.letter]


Permissions = tuple[Permission, ...]

#: dom0's own, closed to all others: what the first nodes have.
CLOSED: Permissions = (Permission("n", 0),)


def access(permissions: Permissions, identities: Iterable[int]) -> int:
    """Return what a client that is all of *identities* (its domid, and the domid that it serves) may do."""
    owner, *exceptions = permissions
    who = set(identities)
    if 0 in who or owner.domid in who:
        return ALL
    for entry in exceptions:
        if entry.domid in who and not entry.void:
            return entry.access
    return owner.access


def void_where(permissions: Permissions, gone: Callable[[int], bool]) -> Permissions:
    """Return *permissions* with the exceptions of domains that are *gone* made void."""
    if len(permissions) == 1:
        return permissions
    return permissions[:1] + tuple(
        replace(entry, void=True) if not entry.void and gone(entry.domid) else entry for entry in permissions[1:]
    )
