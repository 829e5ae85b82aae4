"""The JSON Schema (2020-12) of the pillar, of the same tables that the parser reads by.

It takes every pillar that the parser takes. What the parser knows beyond forms - time zones and VMs that exist, what
depends on several fields or VMs - is not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vminterface.dom0.desired import pillarroot
from vminterface.dom0.desired.fields import FIELDS
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.dom0.desired.settings import OPTIONS
from vminterface.values import address, flags, schema, service, vmname
from vminterface.values.schema import Schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: What a schema names itself by; no address on the network.
ID = "urn:vminterface:pillar"
_DEFS = "$defs"
#: Forms that are in many places, each written once.
_NAMED: Mapping[str, Schema] = {
    "flag": flags.SCHEMA,
    "service": schema.any_of(service.STATE_SCHEMA, schema.NULL),
    "ipv4": address.IPV4,
    "ipv6": address.IPV6,
}


def of_pillar(root: str = "qubes") -> dict[str, Any]:
    """Return the schema of a whole pillar, whose other keys than *root* are somebody else's."""
    vm = {"$ref": f"#/{_DEFS}/vm"}
    names = vmname.NOT_DOM0
    top = {
        "type": "object",
        "description": "the settings of VMs that dom0 pushes",
        "properties": {
            pillarroot.DEFAULTS: schema.any_of(vm, schema.NULL) | {"description": "lies under every VM of vms"},
            pillarroot.VMS: schema.named(schema.any_of(vm, schema.NULL), names=names)
            | {"description": "the settings of each VM by its name; {} for no VMs"},
        },
        "required": [pillarroot.VMS],
        # Other keys are left to other formulas.
        "propertyNames": {"not": {"enum": sorted(_misspelt())}},
    }
    of_vm = {name: _with_null(one.schema, one.does) for name, one in _fields()}
    named = {
        "vm": schema.mapping({name: _shared(one, _NAMED) for name, one in of_vm.items()}),
        **{name: dict(form) for name, form in _NAMED.items()},
    }
    return {
        "$schema": DIALECT,
        "$id": ID,
        "title": "pillar of vminterface",
        "type": "object",
        "properties": {root: top},
        "required": [root],
        _DEFS: named,
    }


def _fields() -> Iterator[tuple[str, Any]]:
    """Yield every field that a VM may have, by its name."""
    yield from {**FIELDS, **PERSISTENT_FIELDS, **OPTIONS}.items()


def _with_null(form: Schema, does: str) -> Schema:
    """Return *form*, or a null, which takes a default back."""
    return schema.described(schema.any_of(form, schema.NULL), does)


def _shared(form: Any, named: Mapping[str, Schema]) -> Any:
    """Return *form* with references in place of the *named* ones; the alternatives of one may be among others."""
    if isinstance(form, list):
        return [_shared(one, named) for one in form]
    if not isinstance(form, Mapping):
        return form
    found = dict(form)
    for name, one in named.items():
        parts = one.get("anyOf", [one])
        if found == one:
            return {"$ref": f"#/{_DEFS}/{name}"}
        if (several := found.get("anyOf")) and all(part in several for part in parts):
            rest = [part for part in several if part not in parts]
            return {**found, "anyOf": [_shared(part, named) for part in rest] + [{"$ref": f"#/{_DEFS}/{name}"}]}
    return {name: _shared(one, named) for name, one in found.items()}


def _misspelt() -> set[str]:
    """Return keys beside ``vms`` and ``defaults`` that are refused as misspelt: those of one letter less or other."""
    found = set()
    for name in (pillarroot.DEFAULTS, pillarroot.VMS):
        for at in range(len(name)):
            found |= {name[:at] + name[at + 1 :], name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :]}
        found |= {name.upper(), name.capitalize()}
    return {name for name in found if pillarroot.is_misspelt(name)}
