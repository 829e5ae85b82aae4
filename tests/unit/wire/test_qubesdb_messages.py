"""The path in a message of QubesDB."""

from __future__ import annotations

import pytest

from vminterface.wire.qubesdb_messages import KEY_FIELD, PATH_MAX


@pytest.mark.parametrize("path", ["/a", "/Z", "/qubes-Service/a.b_c:d@e-9", "/a//b", "/-a"])
def test_what_names_a_key_is_found_up_to_its_terminator(path: str) -> None:
    found = KEY_FIELD.match(path.encode("ascii").ljust(PATH_MAX, b"\0"))
    assert found is not None
    assert found[1].decode("ascii") == path


@pytest.mark.parametrize("path", ["", "/", "a", "/a/", "/a b", "/ä"])
def test_what_names_no_key_is_not(path: str) -> None:
    assert KEY_FIELD.match(path.encode("utf-8").ljust(PATH_MAX, b"\0")) is None
