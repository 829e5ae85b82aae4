"""The command ``vminterface history``: what pushes have changed on this host, who made them, and whether lines miss."""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vminterface.cli.errors import WrongCall
from vminterface.cli.terminal import Style
from vminterface.errors import InvalidValue, printable

DONE, FAILED = 0, 1
#: Pushes that are shown unless more are asked for.
COUNT = 20

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    history = command("history", _history, "Show what pushes have changed, and check that no line is missing.")
    history.add_argument("vm", nargs="?", metavar="VM", help="this VM alone (default: all)")
    history.add_argument(
        "--count", type=int, default=COUNT, metavar="N", help=f"so many pushes at most (default: {COUNT}; 0: all)"
    )
    history.add_argument("--all", action="store_true", help="also pushes that have changed nothing")
    history.add_argument("--verify", action="store_true", help="check the chain of all lines")
    history.add_argument(
        "--known",
        action="append",
        default=[],
        metavar="N:HASH",
        help="a line's hash as --verify has printed it",
    )


def _history(options: argparse.Namespace) -> int:
    from vminterface.dom0.history.log import History

    if options.verify or options.known:
        return _verify(options)
    if options.count < 0:
        raise WrongCall(f"--count: expected a number from 0, got {options.count}")
    found = _chosen(History().newest_first(), options.vm, every=options.all)
    entries = list(itertools.islice(found, min(options.count, sys.maxsize) or None))[::-1]
    if options.json:
        print(json.dumps(entries, indent=2))
    else:
        for entry in entries:
            print("\n".join(_lines(entry, Style(sys.stdout))))
    return DONE


def _verify(options: argparse.Namespace) -> int:
    from vminterface.dom0.history.log import History

    verdict = History().verify(dict(map(_known, options.known)))
    more = [f"{verdict.more_errors} more errors"] if verdict.more_errors else []
    errors, last = [*verdict.errors, *more], f"{verdict.last}:{verdict.hash}"
    if options.json:
        data = {"ok": verdict.ok, "lines": verdict.lines, "first": verdict.first, "last": last, "errors": errors}
        print(json.dumps({**data, "torn": verdict.torn}, indent=2))
        return DONE if verdict.ok else FAILED
    style = Style(sys.stdout)
    for error in errors:
        print(style.red(printable(error, 400)))
    if verdict.torn:
        print("the last line has no end: its writer was killed, or is writing")
    if verdict.lines:
        kept = f"lines {verdict.first} to {verdict.last}"
        print(f"{kept}: {'none is missing, none was changed' if verdict.ok else 'not whole'}; last {last}")
    elif verdict.ok:
        print("no push has been made on this host yet")
    return DONE if verdict.ok else FAILED


def _known(text: str) -> tuple[int, str]:
    if not (found := re.fullmatch(r"([0-9]{1,12}):([0-9a-f]{64})", text)):
        raise InvalidValue(f"--known: '{printable(text, 90)}' is not a line and its hash (expected N:HASH)")
    return int(found[1]), found[2]


def _chosen(entries: Iterator[dict[str, Any]], vm: str | None, *, every: bool) -> Iterator[dict[str, Any]]:
    """Return those of *entries* that are about *vm*, without the other VMs, and unless *every* those with news."""
    for entry in entries:
        vms, lists = _vms(entry), {what: _names(entry, what) for what in ("unchanged", "not_running", "not_reached")}
        if vm is not None:
            vms = {name: own for name, own in vms.items() if name == vm}
            lists = {what: [name for name in names if name == vm] for what, names in lists.items()}
        if vms or lists["not_reached"] or (every and any(lists.values())):
            rest = {what: one for what, one in entry.items() if what != "vms" and what not in lists}
            yield {**rest, **({"vms": vms} if vms else {}), **{what: names for what, names in lists.items() if names}}


def _vms(entry: Mapping[str, Any]) -> dict[str, Any]:
    vms = entry.get("vms")
    return {name: own for name, own in vms.items() if isinstance(own, dict)} if isinstance(vms, dict) else {}


def _names(entry: Mapping[str, Any], what: str) -> list[str]:
    names = entry.get(what)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _lines(entry: Mapping[str, Any], style: Style) -> Iterator[str]:
    """Return one push as lines: when, who and how; then each VM with its fields."""
    from vminterface.dom0.desired import words

    by = entry.get("by")
    yield style.bold(f"{printable(str(entry.get('time', '')))} {_who(by if isinstance(by, dict) else {})}".rstrip())
    if error := entry.get("error"):
        yield style.red(f"  failed: {printable(str(error), 600)}")
    for vm, own in sorted(_vms(entry).items()):
        comment = own.get("comment")
        outcome = printable(str(own.get("outcome", "")))
        when = f" at {printable(str(own['time']))}" if "time" in own else ""
        text = f"  {printable(vm)}: {outcome}{when}" + (f": {printable(str(comment), 600)}" if comment else "")
        yield text if outcome == "changed" else style.red(text)
        changes = own.get("changes")
        for field, change in changes.items() if isinstance(changes, dict) else ():
            values = change if isinstance(change, dict) else {}
            old, new = (printable(words.line(values.get(when)), words.SHOWN) for when in ("old", "new"))
            yield f"    {printable(field)}: {style.red(old)} -> {style.green(new)}"
    for what in ("unchanged", "not_running", "not_reached"):
        if names := _names(entry, what):
            yield f"  {what.replace('_', ' ')}: {', '.join(map(printable, names))}"


def _who(by: Mapping[str, Any]) -> str:
    """Return who made a push, as one would say it."""
    names = {what: printable(str(one), 100) for what, one in by.items()}
    user = names.get("user", "")
    person = names.get("sudo") or names.get("login")
    parts = [f"{person} as {user}" if person and person != user else user, names.get("program", "")]
    if "job" in names:
        published = f" by {names['job_user']}" if "job_user" in names else ""
        parts.append(f"job {names['job']}{published}")
    return ", ".join(filter(None, parts))
