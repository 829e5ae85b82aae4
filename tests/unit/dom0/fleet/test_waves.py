"""In which order a rollout reaches its units."""

from __future__ import annotations

import pytest

from vminterface.dom0.fleet.waves import plan, sizes_of
from vminterface.errors import InvalidValue

TEN = [f"vm{n}" for n in range(10)]


@pytest.mark.parametrize(
    ("canary", "sizes", "lengths"),
    [
        ((), ["25%"], [3, 3, 3, 1]),
        (["vm7"], ["25%"], [1, 3, 3, 3]),
        (["vm7", "vm2"], [1, "50%"], [2, 1, 4, 3]),
        ((), [1, 2, "100%"], [1, 2, 7]),
        ((), ["1"], [1] * 10),
        ((), ["1%"], [1] * 10),
        ((), [100], [10]),
        (TEN, ["25%"], [10]),
    ],
)
def test_every_unit_is_in_one_wave_and_canaries_are_in_the_first(
    canary: list[str], sizes: list[object], lengths: list[int]
) -> None:
    waves = plan(TEN, canary, sizes)
    assert [len(wave) for wave in waves] == lengths
    assert sorted(unit for wave in waves for unit in wave) == TEN
    assert not canary or set(waves[0]) == set(canary)


def test_nothing_to_roll_out_is_no_wave() -> None:
    assert plan([]) == []


@pytest.mark.parametrize(
    ("canary", "sizes", "where"),
    [
        (["other"], ["25%"], "canary"),
        ((), [], "waves"),
        *(((), [size], "waves") for size in (0, -1, True, 1.5, "0%", "101%", "a", "5 %", "", None)),
    ],
)
def test_what_makes_no_sense_is_an_error(canary: list[str], sizes: list[object], where: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        plan(TEN, canary, sizes)
    assert raised.value.where == where


@pytest.mark.parametrize(("value", "sizes"), [("1, 25%", ["1", "25%"]), (5, [5]), (["5%", 3], ["5%", 3]), ((1,), [1])])
def test_sizes_are_given_as_one_as_a_list_or_with_commas(value: object, sizes: list[object]) -> None:
    assert sizes_of(value) == sizes


@pytest.mark.parametrize("value", [None, True, 1.5, {"a": 1}])
def test_other_things_are_no_sizes(value: object) -> None:
    with pytest.raises(InvalidValue):
        sizes_of(value)
