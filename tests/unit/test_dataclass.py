"""The library's own ``dataclass`` behaves as the standard one, and costs a program that starts none of its modules."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from lab.paths import PROJECT
from vminterface import dataclass as ours


def classes(module: Any) -> dict[str, Any]:
    """Return classes with all that the library uses, made by *module*."""

    @module.dataclass(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 2
        note: str = module.field(default="", compare=False)
        AXES: ClassVar[tuple[str, ...]] = ("x", "y")

        @property
        def sum(self) -> int:
            return self.x + self.y

    @module.dataclass(frozen=True, slots=True)
    class Named(Point):
        x: int = 7
        name: str = module.field(default="origin", kw_only=True)
        size: float = 1.0

    @module.dataclass(frozen=True, slots=True, order=True)
    class Version:
        major: int
        minor: int = 0

    @module.dataclass(slots=True)
    class Basket:
        items: list[int] = module.field(default_factory=list)
        owner: str | None = None

        def __post_init__(self) -> None:
            self.items = [*self.items, 0]

    @module.dataclass(frozen=True, slots=True, kw_only=True)
    class Loose:
        first: int = 1
        second: int

    @module.dataclass(frozen=True, slots=True)
    class Same:
        text: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same) and self.text.lower() == other.text.lower()

        def __hash__(self) -> int:
            return 1

        def __repr__(self) -> str:
            return f"<{self.text}>"

    @module.dataclass(frozen=True, slots=True)
    class Nothing:
        pass

    return {one.__name__: one for one in (Point, Named, Version, Basket, Loose, Same, Nothing)}


def assign(one: Any, name: str) -> Any:
    setattr(one, name, 5)
    return one


def delete(one: Any, name: str) -> Any:
    delattr(one, name)
    return one


def matched(one: Any, point: Any) -> object:
    match one:
        case point(x, y):
            return (x, y)
    return None


#: What is done with the classes *c* of the module *m*.
USES: dict[str, Callable[[dict[str, Any], Any], object]] = {
    "default": lambda c, m: c["Point"](1),
    "by name": lambda c, m: c["Point"](y=3, x=1),
    "missing": lambda c, m: c["Point"](),
    "unknown": lambda c, m: c["Point"](1, z=1),
    "too many": lambda c, m: c["Point"](1, 2, "", 4),
    "twice": lambda c, m: (c["Point"](1), c["Point"](2), c["Point"](1).sum, c["Point"].AXES),
    "equal": lambda c, m: (c["Point"](1) == c["Point"](1, 2), c["Point"](1) == c["Point"](2)),
    "not compared": lambda c, m: c["Point"](1, note="a") == c["Point"](1, note="b"),
    "other class": lambda c, m: (c["Point"](1) == c["Named"](1), c["Point"](1) == (1, 2, ""), c["Point"](1) != 1),
    "hash": lambda c, m: hash(c["Point"](1, note="a")) == hash(c["Point"](1, note="b")),
    "in a set": lambda c, m: len({c["Point"](1), c["Point"](1), c["Point"](2)}),
    "mutable has no hash": lambda c, m: hash(c["Basket"]()),
    "frozen": lambda c, m: assign(c["Point"](1), "x"),
    "frozen, deleted": lambda c, m: delete(c["Point"](1), "x"),
    "mutable": lambda c, m: assign(c["Basket"](), "owner"),
    "slots": lambda c, m: assign(c["Basket"](), "colour"),
    "no dict": lambda c, m: c["Basket"]().__dict__,
    "inherited": lambda c, m: (c["Named"](), c["Named"](1, 2, "n", 3.0, name="a"), c["Named"].__slots__),
    "inherited, by place": lambda c, m: c["Named"](1, 2, "n", 3.0, "a"),
    "isinstance": lambda c, m: isinstance(c["Named"](), c["Point"]),
    "factory": lambda c, m: (c["Basket"](), c["Basket"]([1]), c["Basket"]().items is c["Basket"]().items),
    "ordered": lambda c, m: sorted([c["Version"](2), c["Version"](1, 5), c["Version"](1)]),
    "compared": lambda c, m: (c["Version"](1) <= c["Version"](1), c["Version"](1) > c["Version"](1)),
    "not ordered": lambda c, m: c["Point"](1) < c["Point"](2),
    "ordered, other class": lambda c, m: c["Version"](1) < 2,
    "named only": lambda c, m: c["Loose"](second=4),
    "named only, by place": lambda c, m: c["Loose"](1, 2),
    "own methods": lambda c, m: (c["Same"]("A") == c["Same"]("a"), hash(c["Same"]("a")), c["Same"]("a")),
    "nothing": lambda c, m: (c["Nothing"](), c["Nothing"]() == c["Nothing"](), len({c["Nothing"](), c["Nothing"]()})),
    "replace": lambda c, m: m.replace(c["Named"](1, name="a"), y=5),
    "replace, unknown": lambda c, m: m.replace(c["Named"](1), z=5),
    "replace, once more": lambda c, m: m.replace(c["Basket"]([1]), owner="x"),
    "fields": lambda c, m: [one.name for one in (*m.fields(c["Named"]), *m.fields(c["Basket"]()))],
    "match": lambda c, m: (matched(c["Point"](3), c["Point"]), matched(c["Named"](), c["Point"])),
    "match args": lambda c, m: (c["Named"].__match_args__, c["Loose"].__match_args__),
    "names": lambda c, m: (c["Point"].__qualname__, c["Point"].__module__),
}


def outcome(module: Any, use: Callable[[dict[str, Any], Any], object]) -> str:
    """Return what *use* gives as text, or the class of its error that a caller may catch."""
    try:
        return repr(use(classes(module), module))
    except (TypeError, AttributeError) as error:
        return "TypeError" if isinstance(error, TypeError) else "AttributeError"


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_does_what_the_standard_one_does(use: Callable[[dict[str, Any], Any], object]) -> None:
    assert outcome(ours, use) == outcome(dataclasses, use)


@pytest.mark.parametrize(
    "module", ["vminterface.cli.get", "vminterface.dom0.inventory.observed", "vminterface.vm.agent.agent"]
)
def test_programs_that_start_often_load_no_standard_one(module: str) -> None:
    program = f"import sys, {module}; print(*{{'dataclasses', 'inspect'}} & {{*sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "_utils")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert done.stdout == b"\n"
