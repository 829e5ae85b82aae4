"""Bytes from one descriptor to another until one of both ends."""

from __future__ import annotations

import os

_CHUNK = 65536


def copy(source: int, target: int, table: bytes | None = None) -> None:
    """Copy all that comes, translated by *table*; return at its end, or when nobody takes it any more."""
    try:
        while data := os.read(source, _CHUNK):
            left = memoryview(data.translate(table) if table else data)
            while left:
                left = left[os.write(target, left) :]
    except OSError:
        return
