"""The path that a user chose in a VM: what ``qubes.SelectFile`` and ``qubes.SelectDirectory`` answer.

Source: Qubes qubes-manager ``utils.py``, which shows such a path in dom0 and puts it into other calls.
"""

from __future__ import annotations

import re

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex

#: Characters of a path, without the line's end.
LIMIT = 512

_ALLOWED = regex(r"[A-Za-z0-9/:.,_+=()? -]+\Z", re.ASCII)


def parse(untrusted_reply: bytes) -> str | None:
    """Return the chosen path, None if there is none. One line, at most 512 characters of a small set, no ``..``.

    A longer path is refused, not cut: the rest would be another path. Raises InvalidValue.
    """
    # Only the line's end is taken off: blanks may belong to the name.
    untrusted_path = untrusted_reply.removesuffix(b"\n").decode("latin-1")
    if not untrusted_path.strip():
        return None
    if len(untrusted_path) > LIMIT:
        raise InvalidValue(
            f"'{printable(untrusted_path, 60)}' is too long a path (expected at most {LIMIT} characters)"
        )
    if not _ALLOWED.match(untrusted_path):
        raise InvalidValue(
            f"'{printable(untrusted_path, 80)}' is not a path that dom0 accepts"
            " (expected one line of letters, digits, blanks and / : . , _ + = ( ) ? -)"
        )
    if ".." in untrusted_path.split("/"):
        raise InvalidValue(f"'{printable(untrusted_path, 80)}' leads upwards (expected a path without '..')")
    return untrusted_path


def render(path: str) -> bytes:
    """Return the answer that names *path*. Raises InvalidValue if dom0 would refuse it, or take another path for it.

    Of blanks at its ends qubes-manager makes a shorter path, and it finds ``../`` even behind other characters.
    """
    if path != path.strip() or "../" in path:
        raise InvalidValue(
            f"'{printable(path, 80)}' is not a path that dom0 accepts (expected no blank at its ends, no '../')"
        )
    reply = f"{path}\n".encode("utf-8", "surrogateescape")
    if parse(reply) is None:
        raise InvalidValue("an empty path is not a valid reply (expected the path that was chosen)")
    return reply
