"""The pillar as a file of the command line: YAML, or JSON as Salt prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vminterface.errors import InvalidValue, printable


def load(path: str) -> Mapping[str, Any]:
    """Read the pillar in the file *path*, or on standard input for ``-``; YAML means in it what it means to Salt.

    The output of ``salt-call --local pillar.items --out json`` will do. Raises InvalidValue, which names the file and,
    where it is known, the line.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path}: cannot be read: {error}") from None
    try:
        data = _parsed(path, text)
    except InvalidValue:
        raise
    except RecursionError:
        raise InvalidValue(f"{path}: is nested too deeply") from None
    except ValueError as error:  # such as a number of more digits than Python reads
        raise InvalidValue(f"{path}: {printable(str(error))}") from None
    if not isinstance(data, Mapping):
        raise InvalidValue(f"{path}: expected a mapping with qubes:vms")
    data = data["local"] if list(data) == ["local"] else data
    if not isinstance(data, Mapping):
        raise InvalidValue(f"{path}: expected a mapping with qubes:vms")
    return data


def _parsed(path: str, text: str) -> Any:
    def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise _twice(path, next(name for name in names if names.count(name) > 1))
        return found

    try:
        return json.loads(text, object_pairs_hook=without_twins)
    except InvalidValue:
        raise
    except ValueError:
        return _yaml(path, text)


def _yaml(path: str, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise InvalidValue(f"{path}: is not JSON, and PyYAML, which reads YAML, is not installed") from None

    class Loader(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            # Before `<<` is replaced by what it names, whose keys may be there again.
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag not in _NO_KEYS:
                    name = self.construct_object(key)
                    if name in seen:
                        raise _twice(f"{path}:{key.start_mark.line + 1}", key.value)
                    seen.add(name)
            return node

    def as_it_is(loader: Any, node: Any) -> Any:
        return loader.construct_scalar(node)

    # Of a date Salt too makes text.
    Loader.add_constructor("tag:yaml.org,2002:timestamp", as_it_is)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark is not None else ""
        raise InvalidValue(f"{path}{place}: is no YAML: {getattr(error, 'problem', error)}") from None


#: What YAML's keys ``<<`` and ``=`` are.
_NO_KEYS = ("tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")


def _twice(place: str, key: str) -> InvalidValue:
    return InvalidValue(f"{place}: the key '{printable(key, 60)}' is there twice")
