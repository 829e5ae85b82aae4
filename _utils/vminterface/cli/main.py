"""The command ``vminterface``: what the Salt states do, for those who do not use Salt that day; and the VM's agent.

Exit status: 0 nothing to do or done, 1 something was refused or failed, 2 usage, 3 (``diff`` alone) there is drift.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from vminterface import __version__
from vminterface.cli import errors as cli_errors
from vminterface.cli import output
from vminterface.cli.errors import USAGE, Parser, WrongCall
from vminterface.cli.terminal import Progress
from vminterface.errors import ResourcesExhausted, VMInterfaceError, printable

FAILED = 1
#: Each command with the file of this folder that has it, in the order of the help.
_FILES = {
    "get": "get", "set": "push", "diff": "push", "push": "push", "rollout": "rollout", "export": "export",
    "check": "check", "schema": "schema", "call": "rpc", "monitors": "rpc", "gui": "gui", "report": "report",
    "history": "history", "services": "services", "features": "features", "formula": "formula",
    "handlers": "handlers", "owner": "owner", "notices": "notices", "agent": "agent", "watch": "watch",
    "completion": "completion",
}  # fmt: skip
#: Commands that print no data, or JSON in any case.
_WITHOUT_JSON = ("agent", "schema", "watch", "completion")
#: How Python begins its note.
_WHERE = "Error calling __set_name__"
#: By Ctrl-C; by SIGTERM it is 143, by SIGHUP 129.
ENDED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an error is one line on stderr, or an object on stdout."""
    try:
        with output.watched():
            return _main(argv)
    except output.NotWritten as error:
        cli_errors.print_error(str(error), as_json=False)
    except BrokenPipeError:
        pass
    return FAILED


def _main(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = cli_errors.wants_json(words)
    if words[:1] == ["completion"]:
        from vminterface.cli import completion

        if (completed := completion.words_of(words)) is not None:
            return completion.print_words(command_line(), completed)
    try:
        _require_known(words)
        # A command's own part is enough for it: loading all of them takes longer than most commands.
        options = command_line(words[0] if words else "").parse_args(words)
    except WrongCall as error:
        cli_errors.print_error(str(error), as_json=as_json)
        return USAGE
    as_json = getattr(options, "json", False)
    more = getattr(options, "with_error", None)
    if threading.current_thread() is threading.main_thread():
        # What is under way comes to its end, as at Ctrl-C; commands that stay have handlers of their own.
        signal.signal(signal.SIGTERM, _end)
        if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:  # as while it was loaded
            signal.signal(signal.SIGINT, signal.default_int_handler)
        # A terminal that is closed; what nohup(1) starts goes on.
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, _end)
    try:
        with _progress(options) as options.progress:
            return _run(options)
    except VMInterfaceError as error:
        from vminterface.dom0.results.raising import sentence

        text = sentence(error)
        cli_errors.print_error(text, as_json=as_json, more=more and more(text))
        return USAGE if isinstance(error, WrongCall) else FAILED
    except (RuntimeError, MemoryError) as error:
        if (exhausted := ResourcesExhausted.of(error)) is None:
            raise
        cli_errors.print_error(str(exhausted), as_json=as_json, more=more and more(str(exhausted)))
        return FAILED
    except KeyboardInterrupt as interrupt:
        _print_errors(options, str(interrupt))
        return ENDED
    except SystemExit as interrupt:
        notes = getattr(interrupt, "__notes__", ())
        _print_errors(options, "\n".join(note for note in notes if not note.startswith(_WHERE)))
        raise
    except BrokenPipeError:
        # The reader went away (`vminterface get work | head -1`): nobody is left to read it.
        sys.stderr.close()
        return FAILED


def _run(options: argparse.Namespace) -> int:
    try:
        return int(options.run(options))
    except RuntimeError as error:
        # Up to Python 3.11 what a signal raises while a class is made is the cause of one; later it has a note.
        if isinstance(error.__cause__, KeyboardInterrupt | SystemExit):
            raise error.__cause__ from None
        raise


def _require_known(words: Sequence[str]) -> None:
    """Raise WrongCall where the first of *words* is no option and no command."""
    if words and not words[0].startswith("-") and words[0] not in _FILES:
        from vminterface.dom0.desired.fields import suggest

        raise WrongCall(f"unknown command '{printable(words[0], 80)}'{suggest(words[0], _FILES)}")


def _progress(options: argparse.Namespace) -> Progress:
    """Return the line that says that a command is at work; none for those that stay, and while somebody may type."""
    files = (getattr(options, "pillar", None), *getattr(options, "files", ()))
    typed = getattr(options, "stdin", False) or "-" in files
    return Progress(options.command, desired=not typed and options.command not in ("agent", "watch"))


def _print_errors(options: argparse.Namespace, text: str) -> None:
    """Print the outcomes of a push that was interrupted, nothing for one that has been reported as a whole."""
    as_json = getattr(options, "json", False)
    if not getattr(options, "reported", False):
        cli_errors.print_error(text or ("interrupted" if as_json else ""), as_json=as_json)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def command_line(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of the whole command line; where *command* is that of a command, of this one alone."""
    parser = Parser(
        prog="vminterface",
        description="Configure the VMs of this Xen or Qubes host and verify that they applied it.",
        epilog="Exit status: 0 nothing to do or done, 1 refused or failed, 2 usage, 3 drift (diff only).",
    )
    parser.add_argument("--version", action="version", version=f"vminterface {__version__}")
    # Its name is given, as argparse would load what formats help to find it.
    commands = parser.add_subparsers(prog=parser.prog, title="commands", required=True, metavar="COMMAND")

    def add(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, command=name)
        if name == "completion":
            sub.set_defaults(parser=parser)
        return sub

    # What completes words has to know all commands.
    alone = command in _FILES and command != "completion"
    for file in [_FILES[command]] if alone else dict.fromkeys(_FILES.values()):
        importlib.import_module(f"vminterface.cli.{file}").add(add)
    for name, sub in commands.choices.items():
        if name not in _WITHOUT_JSON:
            sub.add_argument("--json", action="store_true", help="print JSON for programs")
        if name in ("get", "set", "diff", "push"):
            sub.add_argument("--keys", action="store_true", help="keys and their texts in place of the pillar's fields")
    return parser
