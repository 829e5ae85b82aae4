"""The two GUI modes."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.guimode import GuiMode


@pytest.mark.parametrize("mode", GuiMode)
def test_a_mode_is_its_word_without_a_lines_end(mode: GuiMode) -> None:
    assert GuiMode.parse(mode.render()) is mode
    assert mode.render() in ("FULLSCREEN", "SEAMLESS")


@pytest.mark.parametrize("text", ["", "fullscreen", "SEAMLESS\n", " SEAMLESS", "SEAMLESSLY", "FULL", "1"])
def test_every_other_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected FULLSCREEN or SEAMLESS"):
        GuiMode.parse(text)
