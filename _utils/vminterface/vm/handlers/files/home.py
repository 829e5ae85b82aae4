"""The home folder of the user that a call is answered for."""

from __future__ import annotations

import os

from vminterface.errors import VMInterfaceError, printable


def home() -> str:
    """Return the absolute path that ``HOME`` names, as the agent sets it. Raises VMInterfaceError."""
    path = os.environ.get("HOME", "")
    if not path.startswith("/"):
        raise VMInterfaceError(f"HOME is '{printable(path, 80)}' (expected the absolute path of the user's home)")
    return path
