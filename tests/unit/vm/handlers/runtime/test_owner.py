"""The owner's two files: the later one decides wherever it says anything, and a broken one refuses everything."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.handlers import VM
from vminterface import keys
from vminterface.values.acceptance import OTHER_HANDLERS, OTHER_SETTINGS
from vminterface.vm.handlers.runtime.owner import PATHS, SETTINGS, Owner, stamp
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.machine import Machine

ETC, RW = PATHS


def owner(root: Path, etc: str | None = None, rw: str | None = None) -> Owner:
    vm = VM(root)
    for path, text in ((ETC, etc), (RW, rw)):
        if text is not None:
            vm.write(path, text)
    return Owner(Machine(str(root)))


def words(found: Owner) -> set[str]:
    return {found.setting(name).word for name in SETTINGS} | {found.service(name).word for name in SERVICES}


def test_every_setting_of_an_agent_can_be_named() -> None:
    assert set(SETTINGS) == {row.setting for row in keys.TABLE} - {""}


def test_without_a_file_all_is_accepted(tmp_path: Path) -> None:
    assert words(owner(tmp_path)) == {"accept"}


def test_a_rule_says_where_it_stands(tmp_path: Path) -> None:
    found = owner(tmp_path, "# mine\nnetwork = refuse\n").setting("network")
    assert (found.word, found.reason) == ("refuse", f"decided by its owner ({ETC}:2)")


def test_the_others_are_those_that_the_file_does_not_name_wherever_it_stands(tmp_path: Path) -> None:
    found = owner(
        tmp_path, "other-settings = refuse\nnetwork = accept\nother-handlers = ignore\nqubes.GetDate = accept\n"
    )
    assert {name for name in SETTINGS if found.setting(name).word == "accept"} == {"network"}
    assert {name for name in SERVICES if found.service(name).word != "ignore"} == {"qubes.GetDate"}


@pytest.mark.parametrize(
    ("etc", "rw", "network", "debug"),
    [
        ("network = refuse\n", "network = accept\n", "accept", "accept"),
        ("network = accept\n", "other-settings = refuse\n", "refuse", "refuse"),
        ("other-settings = refuse\n", "network = accept\n", "accept", "refuse"),
        ("network = refuse\n", "debug = ignore\n", "refuse", "ignore"),
        (None, "network = ignore\n", "ignore", "accept"),
        ("other-settings = refuse\n", "other-handlers = ignore\n", "refuse", "refuse"),
    ],
)
def test_the_later_file_decides_wherever_it_says_anything(
    tmp_path: Path, etc: str | None, rw: str, network: str, debug: str
) -> None:
    found = owner(tmp_path, etc, rw)
    assert (found.setting("network").word, found.setting("debug").word) == (network, debug)


def test_what_is_said_of_a_service_holds_for_it_with_an_argument_unless_that_is_named(tmp_path: Path) -> None:
    found = owner(tmp_path, "qubes.VMShell = refuse\n")
    assert found.service("qubes.VMShell+WaitForSession").word == "refuse"
    found = owner(tmp_path, "qubes.VMShell = refuse\nqubes.VMShell+WaitForSession = ignore\n")
    assert found.service("qubes.VMShell+WaitForSession").word == "ignore"
    assert found.service("qubes.VMShell").word == "refuse"


@pytest.mark.parametrize("broken", PATHS)
def test_a_line_that_is_not_valid_refuses_everything_with_one_sentence(tmp_path: Path, broken: str) -> None:
    texts = {ETC: "network = accept\n", RW: "debug = accept\n", broken: "\nnetwork = maybe\n"}
    found = owner(tmp_path, texts[ETC], texts[RW])
    assert words(found) == {"refuse"}
    assert found.setting("debug").reason == (
        f"{broken}:2: 'network = maybe' is not valid (expected NAME = accept, ignore or refuse); "
        "everything is refused until that is fixed"
    )


def _pipe(place: Path) -> None:
    os.mkfifo(place)


def _endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def _long(place: Path) -> None:
    place.write_text("#" * (1 << 16) + "\n")


def _folder(place: Path) -> None:
    place.mkdir()


def _nowhere(place: Path) -> None:
    place.symlink_to("gone.conf")


def _round(place: Path) -> None:
    place.symlink_to(place.name)


_UNREADABLE = [_pipe, _endless, _long, _folder, _nowhere, _round]


@pytest.mark.parametrize("make", _UNREADABLE)
def test_what_cannot_be_read_refuses_everything_and_holds_nothing_up(tmp_path: Path, make: Callable[..., Any]) -> None:
    place = VM(tmp_path).write(ETC)
    place.unlink()
    make(place)
    found = Owner(Machine(str(tmp_path)))
    assert words(found) == {"refuse"}
    assert found.error.startswith(f"{ETC}: ")


@pytest.mark.parametrize("make", _UNREADABLE)
def test_what_cannot_be_read_has_another_stamp_than_no_file(tmp_path: Path, make: Callable[..., Any]) -> None:
    machine = Machine(str(tmp_path))
    place = VM(tmp_path).write(ETC)
    place.unlink()
    without = stamp(machine)
    make(place)
    assert stamp(machine) != without


def test_a_file_that_comes_changes_or_goes_has_another_stamp(tmp_path: Path) -> None:
    machine = Machine(str(tmp_path))
    seen = [stamp(machine)]
    place = VM(tmp_path).write(RW, "debug = ignore\n")
    seen.append(stamp(machine))
    assert stamp(machine) == seen[-1]
    VM(tmp_path).write(RW, "debug = refuse\n")
    seen.append(stamp(machine))
    VM(tmp_path).write(ETC, "")
    seen.append(stamp(machine))
    place.unlink()
    seen.append(stamp(machine))
    assert len(set(seen)) == 5


def test_the_documentations_example_is_understood(tmp_path: Any) -> None:
    page = (Path(__file__).parents[5] / "docs/agent.md").read_text()
    example = page.partition(f"# {RW}\n")[2].partition("```")[0]
    found = owner(tmp_path, rw=example)
    assert found.error == ""
    assert (found.setting("network").word, found.setting("timezone").word) == ("refuse", "ignore")
    assert found.service("qubes.VMShell").word == "refuse"


def test_the_formula_that_writes_the_file_knows_the_same_settings() -> None:
    text = (Path(__file__).parents[5] / "formulas/vminterface/map.jinja").read_text()
    (listed,) = re.findall(r"set settings = \[([^]]*)\]", text)
    assert re.findall(r'"([^"]+)"', listed) == [*SETTINGS, OTHER_SETTINGS, OTHER_HANDLERS]
