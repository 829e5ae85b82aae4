"""Layouts and variants that this system's X does not have are warned of, with the nearest name."""

import pytest

from vminterface.values import xkblist
from vminterface.values.keyboard import KeyboardLayout

LIST = """! model
  pc105           Generic 105-key PC
! layout
  us              English (US)
  pl              Polish
  de              German

! variant
  dvorak          pl: Polish (Dvorak)
  nodeadkeys      de: German (no dead keys)
! option
  grp             Switching to another layout
"""
NO_DVORAK = "this system has no variant 'dvorak' of the keyboard layout 'us'"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "evdev.lst").write_text(LIST)
    return [str(tmp_path / "none.lst"), str(tmp_path / "evdev.lst")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("us", []),
        ("pl+dvorak", []),
        ("us,de+,nodeadkeys", []),
        ("xy", ["this system has no keyboard layout 'xy'"]),
        ("pol", ["this system has no keyboard layout 'pol' (did you mean 'pl'?)"]),
        ("us+dvorak", [NO_DVORAK]),
        ("pl+dvorakk", ["this system has no variant 'dvorakk' of the keyboard layout 'pl' (did you mean 'dvorak'?)"]),
        ("us,xy+dvorak,x", [NO_DVORAK, "this system has no keyboard layout 'xy'"]),
    ],
)
def test_what_the_list_does_not_have_is_a_sentence(files, text, expected):
    assert xkblist.warnings(KeyboardLayout.parse(text), files) == expected


def test_without_a_list_nothing_is_known_to_be_wrong(files):
    assert xkblist.warnings(KeyboardLayout.parse("xy+z"), files[:1]) == []
