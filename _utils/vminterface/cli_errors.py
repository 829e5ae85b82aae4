"""How the command says that something went wrong: lines on stderr, or with ``--json`` one object on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vminterface.errors import InvalidValue

USAGE = 2


class WrongCall(InvalidValue):
    """The command was called with words that make no sense together, whatever dom0 and its VMs are like."""


class Parser(argparse.ArgumentParser):
    """One whose errors are raised, as the other errors of a command are."""

    def error(self, message: str) -> NoReturn:
        """Raise WrongCall."""
        raise WrongCall(f"{message} (see {self.prog} --help)")


def wants_json(words: Sequence[str]) -> bool:
    """Whether the command with these *words*, which may not be well-formed, is to print JSON."""
    return "--json" in words[: words.index("--") if "--" in words else None]


def show(text: str, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Print *text* of one or more lines; *more* goes beside it where it is an object."""
    if as_json:
        print(json.dumps({"error": text, **(more or {})}, indent=2, sort_keys=True))
        return
    for line in text.splitlines():
        print(f"vminterface: {line}", file=sys.stderr)
