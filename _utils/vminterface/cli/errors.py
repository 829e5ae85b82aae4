"""How the command reports errors: lines on stderr, or with ``--json`` one object on stdout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vminterface.cli.terminal import Style
from vminterface.errors import InvalidValue, printable

USAGE = 2
#: Characters of one line on a terminal: names of files and words of a call may have any.
_LINE = 4096


class WrongCall(InvalidValue):
    """The command was called with words that make no sense together, whatever dom0 and its VMs are like."""


class Parser(argparse.ArgumentParser):
    """One whose errors are raised, as the other errors of a command are."""

    def __init__(self, **options: Any) -> None:
        # Each argument that is added makes a formatter, which loads shutil to find a width that only help needs.
        super().__init__(**options, formatter_class=lambda prog: argparse.HelpFormatter(prog, width=80))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as argparse, but let words of a list stand behind options too: ``get work --json timezone``."""
        found, rest = super().parse_known_args(args, namespace)
        last = self._get_positional_actions()[-1:]
        # Before Python 3.12.7 the list is over, and be it empty, where the first option is.
        if rest and last and last[0].nargs in ("*", "+") and not any(len(word) > 1 and word[0] == "-" for word in rest):
            setattr(found, last[0].dest, [*(getattr(found, last[0].dest) or ()), *rest])
            rest = []
        return found, rest

    def format_help(self) -> str:
        """Return the help as wide as the terminal is."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raise WrongCall."""
        raise WrongCall(f"{printable(message, 400)} (see {self.prog} --help)")


def wants_json(words: Sequence[str]) -> bool:
    """Whether the command with these *words*, which may not be well-formed, is to print JSON."""
    return "--json" in words[: words.index("--") if "--" in words else None]


def print_error(text: str, *, as_json: bool, more: dict[str, Any] | None = None) -> None:
    """Print *text* of one or more lines; *more* goes beside it where it is an object."""
    if as_json:
        import json

        print(json.dumps({"error": text, **(more or {})}, indent=2, sort_keys=True))
        return
    name = Style(sys.stderr).red("vminterface:")
    for line in text.splitlines():
        print(f"{name} {printable(line, _LINE)}", file=sys.stderr)
