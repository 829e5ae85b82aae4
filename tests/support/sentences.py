"""Every error of the library that any test meets says what is wrong: a check where errors are made, for all tests."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.errors import InvalidValue, VMInterfaceError


def check_errors(patch: pytest.MonkeyPatch) -> None:
    """Let each error that is made from now on fail the test where its message or its place is no text."""

    class Checked(VMInterfaceError):
        def __init__(self, *arguments: Any) -> None:
            if arguments and not isinstance(arguments[0], str):
                raise AssertionError(f"{type(self).__name__} has {arguments[0]!r} in place of a sentence")
            # The next class after the root of our errors: Python's own.
            super(VMInterfaceError, self).__init__(*arguments)

    made = InvalidValue.__init__

    def with_place(self: InvalidValue, message: str, where: str = "") -> None:
        if not isinstance(where, str):
            raise AssertionError(f"{type(self).__name__} has {where!r} in place of a field")
        made(self, message, where)

    patch.setattr(VMInterfaceError, "__init__", Checked.__init__)
    patch.setattr(InvalidValue, "__init__", with_place)
