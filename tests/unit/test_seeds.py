"""One seed for all that is random: another each day, inherited by programs, replayable, also for hypothesis."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from hypothesis import core as hypothesis_core

from lab.paths import PROJECT
from tests.support import seeds


def in_another_process(seed: str | None) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != seeds.VARIABLE}
    environment |= {"PYTHONPATH": str(PROJECT)} | ({} if seed is None else {seeds.VARIABLE: seed})
    script = "import os; from tests.support import seeds as s; print(s.SEED, s.number('a'), os.environ['SEED'])"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_without_one_it_is_the_date_which_other_programs_inherit() -> None:
    seed, _, inherited = in_another_process(None)
    assert re.fullmatch(r"20\d{6}", seed)
    assert inherited == seed


def test_the_same_seed_gives_the_same_numbers_in_every_process() -> None:
    assert in_another_process("20261129") == in_another_process("20261129") == ["20261129", "4109042183", "20261129"]
    assert in_another_process("20261130")[1] != "4109042183"


def test_each_test_has_numbers_of_its_own() -> None:
    assert seeds.number("a") != seeds.number("b")
    assert seeds.chance("a").random() == seeds.chance("a").random()
    assert seeds.SEED in seeds.replay()


def test_hypothesis_takes_it_unless_told_another(pytestconfig: pytest.Config) -> None:
    told = pytestconfig.getoption("--hypothesis-seed")
    assert hypothesis_core.global_force_seed == (seeds.number("hypothesis") if told is None else int(told))
