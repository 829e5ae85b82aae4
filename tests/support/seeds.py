"""The seed of everything random in the tests: another one each day, the same for all processes, and replayable.

``SEED=20261129 make test`` (or any other text) does again what the tests did on that day. A test that fails with
one prints it: see the end of a run.
"""

from __future__ import annotations

import hashlib
import os
import random
import time

VARIABLE = "SEED"
#: Today's date (UTC) unless the environment names another. Programs that are started inherit it, over midnight too.
SEED = os.environ.setdefault(VARIABLE, "") or time.strftime("%Y%m%d", time.gmtime())
os.environ[VARIABLE] = SEED


def number(name: str) -> int:
    """Return a number of 32 bits for the test *name*: another one for each, and for each seed."""
    return int.from_bytes(hashlib.sha256(f"{SEED} {name}".encode()).digest()[:4], "big")


def chance(name: str) -> random.Random:
    """Return what decides in the test *name*."""
    return random.Random(number(name))


def rounds(number: int) -> int:
    """Return how many random inputs to try: *number*, or a tenth where ``QUICK`` is set, as by ``make check``."""
    return number // 10 if os.environ.get("QUICK") else number


def replay() -> str:
    """Return how to do it again, for a message."""
    return f"replay with {VARIABLE}={SEED}"
