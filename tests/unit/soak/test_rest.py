"""A leak is told from what a program holds for a moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.soak.measures import DESCRIPTORS, THREADS
from tests.soak.rest import CALM, at_rest, growth

#: Opens and closes a file twice a second for a while, and leaves two open.
BUSY = """
import time
kept = [open("/dev/null") for _ in range(2)]
print("ready", flush=True)
for _ in range(4):
    file = open("/dev/null"); time.sleep(0.3); file.close(); time.sleep(0.3)
time.sleep(60)
"""


def test_a_program_is_at_rest_once_it_holds_the_same_for_a_while() -> None:
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = at_rest(process.pid, 30)
        process.kill()
    assert found is not None
    assert found[0] - began > CALM + 1.5
    assert found[1] == {DESCRIPTORS: 5.0, THREADS: 1.0}


def test_one_that_is_never_at_rest_or_has_ended_says_nothing() -> None:
    assert at_rest(os.getpid(), 1) is None
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert at_rest(process.pid, 1) is None


def test_what_is_held_for_good_is_growth_and_one_more_may_be_chance() -> None:
    first = (1000.0, {DESCRIPTORS: 12.0})
    one, ten = (2800.0, {DESCRIPTORS: 13.0}), (2800.0, {DESCRIPTORS: 22.0})
    slope = growth(DESCRIPTORS, first, one)
    assert slope is not None
    assert (slope.per_hour, slope.exceeds(1.0)) == (2.0, False)
    slope = growth(DESCRIPTORS, first, ten)
    assert slope is not None
    assert (slope.per_hour, slope.exceeds(1.0)) == (20.0, True)
    pool = growth(DESCRIPTORS, first, ten, 9.0)
    assert pool is not None
    assert pool.per_hour == 2.0
    fewer = growth(DESCRIPTORS, ten, (4600.0, {DESCRIPTORS: 20.0}), 9.0)
    assert fewer is not None
    assert fewer.per_hour == -4.0
    assert growth(DESCRIPTORS, first, None) is None
    assert growth(DESCRIPTORS, None, one) is None
