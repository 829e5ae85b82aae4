"""Persistence has three words."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.persistence import Persistence


@pytest.mark.parametrize("text", ["full", "rw-only", "none"])
def test_each_word_comes_back_as_written(text: str) -> None:
    assert Persistence.parse(text).render() == text


@pytest.mark.parametrize("text", ["", "Full", "rw_only", "none ", "full\n", "\x00"])
def test_any_other_word_is_refused_because_it_would_stop_the_vms_start(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected 'full', 'rw-only' or 'none'"):
        Persistence.parse(text)
