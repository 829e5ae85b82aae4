"""What Python or Salt will take away is an error in these tests, wherever a file of this tree uses it."""

from __future__ import annotations

import warnings

import pytest


@pytest.mark.parametrize("kind", [DeprecationWarning, PendingDeprecationWarning])
def test_the_use_of_what_is_deprecated_is_an_error(kind: type[Warning]) -> None:
    with pytest.raises(kind, match="will be removed"):
        warnings.warn("will be removed", kind, stacklevel=1)
