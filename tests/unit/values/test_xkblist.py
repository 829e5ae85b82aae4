"""Layouts and variants that this system's X does not have are warned of, with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from vminterface.values import xkblist
from vminterface.values.keyboard import KeyboardLayout

LIST = """stray line
! model
  pc105           Generic 105-key PC
! layout
  us              English (US)
  pl              Polish
  de              German

! variant
  dvorak          pl: Polish (Dvorak)
  nodeadkeys      de: German (no dead keys)
  lonely
  plain           pl:
  new             zz: Of a layout without a line of its own
!
  none            nn: below a section without a name
! option
  lv3             lvl: Level
"""
NO_DVORAK = "this system does not have the variant 'dvorak' of the keyboard layout 'us'"


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "evdev.lst").write_text(LIST)
    return [str(tmp_path / "none.lst"), str(tmp_path / "evdev.lst")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("us", []),
        ("pl+dvorak", []),
        ("us,de+,nodeadkeys", []),
        ("pl+plain", []),
        ("zz+new", []),
        ("nn+none", ["this system does not have the keyboard layout 'nn'"]),
        ("lvl", ["this system does not have the keyboard layout 'lvl'"]),
        ("line", ["this system does not have the keyboard layout 'line'"]),
        ("xy", ["this system does not have the keyboard layout 'xy'"]),
        ("pol", ["this system does not have the keyboard layout 'pol' (did you mean 'pl'?)"]),
        ("us+dvorak", [NO_DVORAK]),
        (
            "pl+dvorakk",
            ["this system does not have the variant 'dvorakk' of the keyboard layout 'pl' (did you mean 'dvorak'?)"],
        ),
        ("us,xy+dvorak,x", [NO_DVORAK, "this system does not have the keyboard layout 'xy'"]),
    ],
)
def test_what_the_list_does_not_have_is_a_sentence(files: list[str], text: str, expected: list[str]) -> None:
    assert xkblist.warnings(KeyboardLayout.parse(text), files) == expected


def test_a_list_that_is_not_all_utf8_is_read_still(tmp_path: Path) -> None:
    (tmp_path / "evdev.lst").write_bytes(b"! layout\n  fr  Fran\xe7ais\n")
    assert xkblist.warnings(KeyboardLayout.parse("fr"), [str(tmp_path / "evdev.lst")]) == []


@pytest.mark.parametrize("file", xkblist.FILES)
def test_this_systems_own_list_knows_its_layouts(file: str) -> None:
    assert xkblist.warnings(KeyboardLayout.parse("us,pl+,dvorak"), [file]) == []
    assert xkblist.warnings(KeyboardLayout.parse("qqq"), [file]) == xkblist.warnings(KeyboardLayout.parse("qqq")) != []


def test_without_a_list_nothing_is_known_to_be_wrong(files: list[str]) -> None:
    assert xkblist.warnings(KeyboardLayout.parse("xy+z"), files[:1]) == []


def test_what_the_list_has_is_shown_without_what_a_terminal_would_take_for_its_own(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("! layout\n  u\x1bs English\n")
    (line,) = xkblist.warnings(KeyboardLayout.parse("us"), [str(tmp_path / "list")])
    assert line.endswith("(did you mean 'u\\x1bs'?)")
