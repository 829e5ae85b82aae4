"""An export as a file: YAML that means the same to Salt, to editors and to this program, with comments.

Whatever a VM has put into a name or a text stays within its quotes or its comment, also where Jinja reads the file
before YAML does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from vminterface.dom0.export.vmexport import VMExport
from vminterface.errors import printable
from vminterface.regex import regex

#: Where an editor finds the schema, seen from the pillar's folder.
SCHEMA_LINE = "# yaml-language-server: $schema=vminterface.schema.json"
_HEAD = (
    SCHEMA_LINE,
    "# The current settings of these VMs, written by vminterface export: a push of this file changes nothing.",
    '# Comments with "left out" name what is not exported, and why.',
    "qubes:",
)
#: Texts that need no quotes in any YAML: addresses, and words that begin with a letter.
_PLAIN = regex(r"[A-Za-z](?:[A-Za-z0-9_./+-]*[A-Za-z0-9_+])?|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?", re.ASCII)
#: Words that are no texts in YAML 1.1 or 1.2.
_OTHERS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
#: What Jinja begins with.
_JINJA = regex(r"\{(?=[{%#])")
_SURROGATES = regex(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
_LINE = 4096


def as_yaml(exports: Sequence[VMExport]) -> str:
    """Return the pillar's text."""
    lines = [*_HEAD]
    there = [one for one in exports if not one.error]
    lines.append("  vms:" if there else "  vms: {}")
    for one in exports:
        if one.error:
            lines.append(_comment(4, f"{one.vm}: left out: {one.error}"))
            continue
        raw = one.raw()
        lines.append(f"    {_scalar(one.vm)}:{'' if raw else ' {}'}")
        lines += [_comment(6, note) for note in one.notes]
        lines += _mapping(raw, 6)
        lines += [_comment(6, f"{':'.join(path)}: left out: {why}") for path, why in sorted(one.left_out.items())]
    return "\n".join(lines) + "\n"


def as_data(exports: Sequence[VMExport]) -> dict[str, Any]:
    """Return the pillar as plain data, with what is ``left_out`` of VMs, and the ``errors`` of VMs, beside it."""
    return {
        "qubes": {"vms": {one.vm: one.raw() for one in exports if not one.error}},
        "left_out": {
            one.vm: {":".join(path): why for path, why in sorted(one.left_out.items())}
            for one in exports
            if one.left_out and not one.error
        },
        "errors": {printable(one.vm): one.error for one in exports if one.error},
    }


def _mapping(raw: dict[str, Any], depth: int) -> Iterator[str]:
    indent = " " * depth
    for name, value in raw.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{_scalar(name)}:"
            yield from _mapping(value, depth + 2)
        elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
            yield f"{indent}{_scalar(name)}:"
            yield from (f"{indent}  - {_flow(one)}" for one in value)
        else:
            yield f"{indent}{_scalar(name)}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Return *value* on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_scalar(name)}: {_flow(one)}' for name, one in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _OTHERS:
        return text
    return _JINJA.sub(r"\\x7b", _SURROGATES.sub(_wide, json.dumps(text)))


def _wide(pair: re.Match[str]) -> str:
    """Return the one escape of a character for which JSON has two, which YAML does not put together."""
    character = json.loads('"' + pair[0] + '"')
    return f"\\U{ord(character):08x}"


def _comment(depth: int, text: str) -> str:
    return f"{' ' * depth}# " + _JINJA.sub(r"\\x7b", printable(text, _LINE))
