"""The command ``vminterface schema``: the form of the pillar, for editors and other programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

DONE = 0

Command = Callable[[str, Any, str], argparse.ArgumentParser]


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    command("schema", _schema, "Print the JSON Schema (2020-12) of the pillar, for editors to check and complete it.")


def _schema(options: argparse.Namespace) -> int:
    from vminterface.dom0.desired.schema import of_pillar

    print(json.dumps(of_pillar(), indent=1))
    return DONE
