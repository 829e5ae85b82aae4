"""How a demo says what holds: a claim that is not true ends it."""

from __future__ import annotations

import os
import textwrap
import time
from typing import Any

from lab.dom0.saltdir import StateResult
from vminterface.dom0.desired.words import PERSISTENT
from vminterface.errors import printable


class Broken(Exception):
    """Something is not as it has to be."""


def require(condition: bool, claim: str) -> None:
    """Print *claim* if it is true. Raises Broken."""
    if not condition:
        raise Broken(f"not true: {claim}")
    print(f"  ok  {claim}")


def heading(text: str) -> None:
    """Begin a step."""
    print(f"\n== {text}", flush=True)


def print_report(report: list[StateResult]) -> None:
    """Print the comment of each state."""
    for result in report:
        print(textwrap.indent(result.comment, f"  {'' if result.ok else 'FAILED '}", lambda line: True))


def print_changes(result: StateResult) -> None:
    """Print what was changed in one VM."""
    print(f"  {result.name}: {result.comment or 'set'}")
    for field, change in result.changes.items():
        print(f"      {field:<29} {short(change['old'])} -> {short(change['new'])}")


def fields(result: StateResult) -> set[str]:
    """Return which fields have changed, in the VM or in what qubesd keeps of it."""
    return {name.removeprefix(PERSISTENT) for name in result.changes}


def short(value: Any) -> str:
    """Return a value so that it fits on a line."""
    return printable(str(value), 40)


def time_in(zone: str, form: str) -> str:
    """Return the time now in *zone*, as dom0 reckons it."""
    former = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        return time.strftime(form)
    finally:
        if former is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = former
        time.tzset()
