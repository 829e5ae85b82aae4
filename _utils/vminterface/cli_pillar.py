"""The pillar as a file of the command line: YAML, or JSON as Salt prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vminterface.errors import InvalidValue


def load(path: str) -> Mapping[str, Any]:
    """Read a pillar from YAML or JSON; the output of ``salt-call --local pillar.items --out json`` will do."""
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path}: cannot be read: {error}") from None
    try:
        data = json.loads(text)
    except ValueError:
        data = _yaml(path, text)
    if not isinstance(data, Mapping):
        raise InvalidValue(f"{path}: expected a mapping with qubes:vms")
    data = data["local"] if list(data) == ["local"] else data
    if not isinstance(data, Mapping) or "qubes" not in data:
        raise InvalidValue(f"{path}: expected a mapping with qubes:vms")
    return data


def _yaml(path: str, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise InvalidValue(f"{path}: is not JSON, and PyYAML, which reads YAML, is not installed") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark is not None else ""
        raise InvalidValue(f"{path}{place}: is no YAML: {getattr(error, 'problem', error)}") from None
