"""The calls about features: ``admin.vm.feature.*``."""

from __future__ import annotations

import re

from lab.qubesd.errors import Refused, Unanswered, invalid
from lab.qubesd.extensions import is_meminfo_writer
from lab.qubesd.featurechanges import delete, store
from lab.qubesd.propertychanges import reset_property, set_property
from lab.qubesd.system import System

#: Features that only qubesd itself may set.
_OWN = ("deferred-netvm-original", "preload-dispvm", "preload-dispvm-completed", "preload-dispvm-in-progress")
#: Where each check looks beside the VM itself.
CHECKS = {
    "CheckWithTemplate": ("template",),
    "CheckWithNetvm": ("netvm",),
    "CheckWithAdminVM": ("adminvm",),
    "CheckWithTemplateAndAdminVM": ("template", "adminvm"),
}


def list_features(system: System, vm: str) -> str:
    """Return the names, one a line."""
    return "".join(f"{one}\n" for one in system.qubes[vm].features)


def get_feature(system: System, vm: str, name: str, *ways: str) -> str:
    """Return a feature, taken from elsewhere in these *ways* too. Raises Refused."""
    found = system.inherited(vm, name, *ways)
    if found is None:
        raise _not_set(vm, name)
    return found


def set_feature(system: System, vm: str, name: str, payload: bytes) -> None:
    """Store a feature and let all that hangs on it follow. Raises Refused, Unanswered, also after it was stored."""
    try:
        value = payload.decode("ascii")
    except UnicodeDecodeError:
        raise Unanswered(f"{name}: not ASCII") from None
    if not re.fullmatch("[a-zA-Z0-9_.-]+", name):
        raise invalid("feature name contains illegal characters")
    if not re.fullmatch("[ -~]*", value):
        raise invalid("%s value contains illegal characters", name)
    _check_permitted(name)

    def become_maxmem() -> None:
        if "maxmem" not in system.definitions(vm):
            pass
        elif value:
            reset_property(system, vm, "maxmem")
        else:
            set_property(system, vm, "maxmem", "0")
        delete(system, vm, name)

    store(system, vm, name, value, first=become_maxmem if is_meminfo_writer(name) else None)


def remove_feature(system: System, vm: str, name: str) -> None:
    """Remove a feature and what hangs on it. Raises Refused, Unanswered, also after it was removed."""
    _check_permitted(name)
    if name not in system.qubes[vm].features:
        system.events.fire(vm, f"domain-feature-pre-delete:{name}", feature=name)
        raise _not_set(vm, name)
    delete(system, vm, name)


def _check_permitted(name: str) -> None:
    if name in _OWN:
        raise Unanswered(f"{name} may not be changed")


def _not_set(vm: str, name: str) -> Refused:
    return Refused("QubesFeatureNotFoundError", "Feature not set for domain %s: %s", vm, name)
