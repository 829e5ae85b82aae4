"""The base of the smallest objects: equal by class and content. What starts often loads no data classes."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from lab.paths import PROJECT
from vminterface.value import Value


class Point(Value):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int = 0) -> None:
        self.x: Final = x
        self.y: Final = y


class Size(Value):
    __slots__ = ("x", "y")

    def __init__(self, x: int, y: int = 0) -> None:
        self.x: Final = x
        self.y: Final = y


def test_two_that_hold_the_same_are_equal_and_one_in_a_set() -> None:
    assert Point(1, 2) == Point(1, 2)
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2


def test_two_are_not_equal_that_differ_in_anything_or_are_of_two_classes() -> None:
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Size(1, 2)
    assert Point(1, 2) != (1, 2)


def test_its_repr_has_what_it_holds() -> None:
    assert repr(Point(1, 2)) == "Point(x=1, y=2)"


# What each command's file imports when it runs; see docs/performance.md.
GET = (
    "vminterface.cli.main", "vminterface.cli.get", "vminterface.dom0.inventory.observed",
    "vminterface.dom0.desired.words", "vminterface.dom0.results.shown",
)  # fmt: skip


#: Prints what of the library's modules Python has to make by compiling text at each start.
COMPILED = """
import re, sys
for name in [name for name in sys.modules if name.startswith("vminterface.")]:
    for what, one in vars(sys.modules[name]).items():
        if isinstance(one, re.Pattern) or hasattr(one, "_fields"):
            print(f"{name}.{what}")
"""


@pytest.mark.parametrize("modules", [pytest.param(GET, id="get")])
def test_what_starts_often_loads_no_data_classes_no_named_tuples_and_no_compiled_expressions(
    modules: tuple[str, ...],
) -> None:
    code = f"import sys, {', '.join(modules)}\n{COMPILED}\nprint(*{{'dataclasses'}} & {{*sys.modules}})"
    environment = {"PYTHONPATH": str(PROJECT / "_utils")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
