"""A value is plain Python's, whatever classes it comes in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.support.masked import masked
from vminterface.errors import kind_of, printable_value
from vminterface.values.plain import DEEPEST, plain


def classes(value: Any) -> set[type]:
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return {type(value)}.union(*map(classes, inner))


def test_mappings_lists_and_texts_of_any_class_become_the_plain_ones() -> None:
    class Text(str):
        pass

    given = masked({"a": [{"b": "c"}, ["d", 1, True, None, 1.5, b"x"]], "e": {"f": ("g", ["h"])}})
    given["i"] = OrderedDict(j=MappingProxyType({"k": Text("l")}))
    found = plain(given)
    assert found == {
        "a": [{"b": "c"}, ["d", 1, True, None, 1.5, b"x"]],
        "e": {"f": ("g", ["h"])},
        "i": {"j": {"k": "l"}},
    }
    assert classes(found) <= {dict, list, tuple, str, int, bool, type(None), float, bytes}
    assert "**" not in repr(found)


def test_what_holds_itself_or_is_very_deep_is_no_matter() -> None:
    round_: list[Any] = []
    round_ += [round_, {"again": round_}]
    found = plain(round_)
    assert found[0] is found
    assert found[1]["again"] is found
    itself: dict[str, Any] = {}
    itself["again"] = itself
    found = plain(itself)
    assert found["again"] is found
    assert found is not itself
    deep: Any = "x"
    for _ in range(20 * DEEPEST):
        deep = [deep]
    assert plain(deep)
    twice = [deep] * 2
    for _ in range(60):
        twice = [twice, twice]
    assert plain(twice)


def test_an_error_shows_what_a_value_holds_and_calls_it_by_the_name_that_yaml_has() -> None:
    hidden = masked({"a": ["b", {"c": 7}]})
    assert printable_value(hidden) == "{'a': ['b', {'c': 7}]}"
    assert (kind_of(hidden), kind_of(hidden["a"]), kind_of(True), kind_of(OrderedDict())) == (
        "dict",
        "list",
        "bool",
        "dict",
    )


class Named(Mapping[str, Any]):
    """A mapping of a class of its own."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __getitem__(self, key: str) -> Any:
        return {"held": self.held}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["held"])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("inside", "out_of"),
    [
        (lambda held: [held], lambda held: held[0]),
        (lambda held: (held,), lambda held: held[0]),
        (Named, lambda held: held["held"]),
    ],
)
def test_what_lies_deeper_than_a_hundred_stays_as_it_is(inside: Any, out_of: Any) -> None:
    for depth, found in ((99, dict), (100, dict), (101, Named), (102, Named)):
        value: Any = Named(1)
        for _ in range(depth):
            value = inside(value)
        value = plain(value)
        for _ in range(depth):
            value = out_of(value)
        assert type(value) is found, depth


class Key(NamedTuple):
    """A tuple of a class of its own."""

    name: str


def test_a_key_is_followed_as_deep_as_a_value() -> None:
    for depth, found in ((99, tuple), (100, Key)):
        key: tuple[Any, ...] = Key("a")
        for _ in range(depth):
            key = (key,)
        (key,) = plain(MappingProxyType({key: 1}))
        for _ in range(depth):
            (key,) = key
        assert type(key) is found
