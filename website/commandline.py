"""The page of the command line, of the command's own parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from vminterface.cli.main import command_line
from website.markdown import cell, code, table

HEAD = """# Command line

Made of the command's own parser; `vminterface COMMAND --help` prints the same. What the commands are for, their exit
status, and the completion of shells are on [the page of the command](../command.md).

"""


def page() -> str:
    """Return the page."""
    return HEAD + "\n".join(line for name, sub in commands(command_line()) for line in section(name, sub))


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the commands of *parser*, those of commands too, each with its whole name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield name, sub
                yield from ((f"{name} {below}", one) for below, one in commands(sub))


def section(name: str, sub: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines about one command."""
    usage = " ".join(sub.format_usage().removeprefix("usage: ").split()).replace("[-h] ", "").replace(" [-h]", "")
    yield from (f"## vminterface {name}", "", "```text", usage, "```", "", cell(sub.description or ""), "")
    rows = [
        (code(tag(action)), action.help % {"default": action.default})
        for action in sub._actions
        if action.help and not isinstance(action, argparse._HelpAction)
    ]
    if rows:
        yield table(("option", "meaning"), rows)


def tag(action: argparse.Action) -> str:
    """Return what an option or an argument is called."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper() if action.nargs != 0 else ""
    if action.choices is not None and not action.metavar:
        value = "|".join(map(str, action.choices))
    return " ".join(filter(None, (", ".join(action.option_strings), value)))
