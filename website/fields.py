"""The page of the pillar's fields: what each does and may be, of the tables that the parser reads by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vminterface import keys
from vminterface.dom0.desired.fields import FIELDS
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.dom0.desired.settings import OPTIONS
from vminterface.dom0.push.persist.places import place_of
from vminterface.values import flags
from vminterface.values.schema import FALSE
from website.markdown import code, table

HEAD = """# Fields of the pillar

Made of the tables that the parser reads by; `vminterface schema` prints the same as a JSON Schema. How fields work
together, with examples, is on [the page of the pillar](../pillar.md). Every field may also be `null`, which takes a
default of `qubes:defaults` back.

"""
#: So many words are listed.
FEW = 12
KINDS = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "boolean": "`on`, `off`",
    "null": "",
    "integer": "number",
}


def page() -> str:
    """Return the page."""
    parts = [HEAD, "## Fields that have keys\n\n", of_keys(FIELDS)]
    parts += ["\n## Fields that qubesd alone keeps\n\n", described(PERSISTENT_FIELDS)]
    parts += ["\n## Options of a push\n\n", described(OPTIONS)]
    parts += ["\n## Members of the networks\n\n", networks()]
    return "".join(parts)


def of_keys(fields: Mapping[str, Any]) -> str:
    """Return the table of *fields*, each with the keys that it writes and where qubesd keeps it."""
    rows = []
    for name, field in fields.items():
        own = [key for key in keys.TABLE if key.pushed and key.field.partition(":")[0] == name]
        place = place_of(own[0].field.replace("*", "NAME")) if len(own) == 1 else None
        shown = ", ".join(code(key.name) for key in own[:2]) + (", …" if len(own) > 2 else "")
        rows.append((code(name), field.does, form(field.schema), shown, place.words if place else ""))
    return table(("field", "it …", "value", "key", "kept by qubesd as"), rows)


def described(fields: Mapping[str, Any]) -> str:
    """Return the table of *fields* without keys."""
    return table(("field", "it …", "value"), [(code(name), one.does, form(one.schema)) for name, one in fields.items()])


def networks() -> str:
    """Return the table of what the mappings ``network`` and ``provides_network`` have."""
    rows = []
    for name in ("network", "provides_network"):
        [mapping] = [one for one in alternatives(FIELDS[name].schema) if "properties" in one]
        needed = mapping.get("required", ())
        for member, schema in mapping["properties"].items():
            rows.append((code(f"{name}:{member}"), "yes" if member in needed else "", form(schema)))
    return table(("field", "needed", "value"), rows)


def form(schema: Mapping[str, Any]) -> str:
    """Return in words what *schema* takes: the words it may be, else the kinds of values."""
    several = list(alternatives(schema))
    found: list[str] = []
    for flag, words in ((flags.SCHEMA, "`on`, `off`"), (FALSE, "`off`")):
        parts = list(alternatives(flag))
        if all(part in several for part in parts):
            several = [one for one in several if one not in parts]
            found.append(words)
    for one in several:
        if "const" in one or "enum" in one:
            values = [value for value in one.get("enum", [one.get("const")]) if isinstance(value, str)]
            found += [code(value if value else "''") for value in values[:FEW]] + ["…"] * (len(values) > FEW)
        elif "type" in one:
            kinds = [one["type"]] if isinstance(one["type"], str) else one["type"]
            found += [bounds(KINDS.get(kind, kind), one) for kind in kinds]
    return ", ".join(dict.fromkeys(filter(None, found)))


def bounds(kind: str, schema: Mapping[str, Any]) -> str:
    """Return *kind* with the bounds that *schema* has for it."""
    if "minimum" in schema and "maximum" in schema:
        return f"{kind} from {schema['minimum']} to {schema['maximum']}"
    if kind == "list" and "maxItems" in schema:
        return f"list of at most {schema['maxItems']}"
    return kind


def alternatives(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield each alternative of *schema*, those of alternatives too."""
    if several := schema.get("anyOf"):
        for one in several:
            yield from alternatives(one)
    else:
        yield schema
