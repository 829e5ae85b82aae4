"""The top of the pillar: ``qubes:defaults`` and ``qubes:vms`` among what others keep below ``qubes``.

A pillar that is missing or misspelt must never read like one that asks for nothing, so the list of VMs has to be there,
if only as ``{}``, and a key that was probably meant to be one of the two is refused.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from typing import Any

from vminterface.errors import InvalidValue, kind_of, printable, printable_value
from vminterface.values.plain import plain

DEFAULTS, VMS = "defaults", "vms"
#: What the ext_pillars of Qubes' own formulas (qvm_prefs, qvm_features, qvm_tags) put below ``qubes``.
FOREIGN = frozenset({"type", "template", "netvm", "features", "tags"})
#: Properties of Qubes that are called like ``defaults``.
_FOREIGN_PREFIX = "default_"
#: How alike a key has to be, from 0 to 1, to count as misspelt: ``vmz`` is 0.67.
_NEAR = 0.66
#: Only Qubes' dom0 has it.
QUBES_RELEASE = "/etc/qubes-release"
#: Characters that are shown of an error of Salt's.
_SHOWN = 500


def sections(
    pillar: Any, root: str, fields: Collection[str], source: str, errors: list[InvalidValue]
) -> tuple[Mapping[Any, Any], Mapping[Any, Any]]:
    """Return the defaults and the VMs of *pillar*, plain; what is wrong with the rest is added to *errors*.

    *fields* are the names that a VM's settings may have, by which a VM in the wrong place is recognized. *source* names
    where the pillar comes from.
    """
    if not isinstance(pillar, Mapping):
        errors.append(InvalidValue(f"is {_kind(pillar)} in {source} (expected a mapping)", root))
        return {}, {}
    if of_salt := pillar.get("_errors"):
        listed = of_salt if isinstance(of_salt, list | tuple) else [of_salt]
        errors += [InvalidValue(f"Salt could not compile {source}: {printable_value(e, _SHOWN)}", root) for e in listed]
        return {}, {}
    top = plain(pillar.get(root))
    if top is None:
        near = difflib.get_close_matches(root, [name for name in pillar if isinstance(name, str) and name != root], n=1)
        errors.append(_missing(root, source, f", which has '{printable(near[0], 60)}'" if near else ""))
        return {}, {}
    if not isinstance(top, Mapping):
        errors.append(InvalidValue(f"is {_kind(top)} (expected a mapping)", root))
        return {}, {}
    misspelt = _misspelt(top, root, fields)
    errors += misspelt
    if top.get(VMS) is None and not misspelt:
        errors.append(_missing(root, source, ""))
    return mapping(top.get(DEFAULTS), f"{root}:{DEFAULTS}", errors), mapping(top.get(VMS), f"{root}:{VMS}", errors)


def _missing(root: str, source: str, found: str) -> InvalidValue:
    hint = ""
    if os.path.exists(QUBES_RELEASE):
        hint = "; the pillar may not be enabled: qubesctl top.enable vminterface pillar=true"
    return InvalidValue(
        f"is not in {source}{found} (expected a mapping of VMs to their settings, {{}} for no VMs){hint}",
        f"{root}:{VMS}",
    )


def _misspelt(top: Mapping[Any, Any], root: str, fields: Collection[str]) -> list[InvalidValue]:
    """Return a fault for each key that is neither ours nor known as somebody else's, and was probably meant to be."""
    errors = []
    for name, value in top.items():
        if name in (DEFAULTS, VMS, *FOREIGN):
            continue
        path = f"{root}:{printable_value(name)}"
        near = _near(name)
        if near:
            errors.append(InvalidValue(f"unknown field (did you mean '{near}'?)", path))
        elif _is_vm(value, fields):
            message = f"settings of a VM in the wrong place (expected below {root}:{VMS}:{printable_value(name)})"
            errors.append(InvalidValue(message, path))
        elif isinstance(value, Mapping) and value and all(_is_vm(one, fields) for one in value.values()):
            errors.append(InvalidValue(f"settings of VMs in the wrong place (expected below {root}:{VMS})", path))
    return errors


def is_misspelt(name: str) -> bool:
    """Whether *name* is none of the keys below the root, and was probably meant to be ours."""
    return name not in (DEFAULTS, VMS, *FOREIGN) and bool(_near(name))


def _near(name: Any) -> str:
    if not isinstance(name, str) or name.startswith(_FOREIGN_PREFIX):
        return ""
    near = difflib.get_close_matches(name.lower(), (DEFAULTS, VMS), n=1, cutoff=_NEAR)
    return near[0] if near else ""


def _is_vm(value: Any, fields: Collection[str]) -> bool:
    """Whether *value* reads like the settings of a VM: at least half of it are *fields*."""
    if not isinstance(value, Mapping):
        return False
    known = sum(name in fields for name in value)
    return known > 0 and 2 * known >= len(value)


def mapping(raw: Any, where: str, errors: list[InvalidValue]) -> Mapping[Any, Any]:
    """Return *raw*, an empty mapping for None; for anything else too, with an error at *where* added to *errors*."""
    if raw is None:
        return {}
    if isinstance(raw, Mapping):
        return raw
    errors.append(InvalidValue(f"is {_kind(raw)} (expected a mapping)", where))
    return {}


def _kind(raw: Any) -> str:
    return "empty" if raw is None else f"of type {kind_of(raw)}"
