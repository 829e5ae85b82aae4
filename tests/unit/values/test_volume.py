"""The two volumes that can grow."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.volume import Volume


@pytest.mark.parametrize("volume", Volume)
def test_a_volume_is_its_word_without_a_lines_end(volume: Volume) -> None:
    assert Volume.parse(volume.render()) is volume
    assert volume.render() in ("private", "root")


@pytest.mark.parametrize("text", ["", "volatile", "kernel", "private\n", "ROOT", "root ", "/dev/xvda"])
def test_every_other_word_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected private or root"):
        Volume.parse(text)
