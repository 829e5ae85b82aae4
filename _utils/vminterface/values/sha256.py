"""SHA-256 by Python's own code where it has that: hashlib would load OpenSSL, which is a sixth of an agent's memory."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

#: Python's own, in 3.12 and later, and before; the standard library's ``random`` goes by them, too.
_OWN = ("_sha2", "_sha256")


def hexdigest(data: bytes) -> str:
    """Return the digest of *data* as 64 lower-case hexadecimal digits."""
    found: str = _algorithm()(data).hexdigest()
    return found


@functools.cache
def _algorithm() -> Callable[[bytes], Any]:
    for name in (*_OWN, "hashlib"):
        try:
            found: Callable[[bytes], Any] = importlib.import_module(name).sha256
        except (ImportError, AttributeError):
            continue
        return found
    raise ImportError("this Python has no SHA-256 (expected hashlib)")
