"""The calls about features: ``admin.vm.feature.*``."""

from __future__ import annotations

import re

from lab.qubesd import extensions
from lab.qubesd.errors import Refused, Unanswered, invalid
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
    features = system.qubes[vm].features
    values = {"feature": name, "value": value}
    if name in features:
        values["oldvalue"] = features[name]
    system.events.fire(vm, f"domain-feature-pre-set:{name}", **values)
    extensions.check(system, vm, name, value)
    features[name] = value
    if extensions.is_meminfo_writer(name):
        if value:
            reset_property(system, vm, "maxmem")
        else:
            set_property(system, vm, "maxmem", "0")
        _delete(system, vm, name)
    extensions.after_set(system, vm, name, value)
    system.events.fire(vm, f"domain-feature-set:{name}", **values)


def remove_feature(system: System, vm: str, name: str) -> None:
    """Remove a feature and what hangs on it. Raises Refused, Unanswered, also after it was removed."""
    _check_permitted(name)
    if name not in system.qubes[vm].features:
        raise _not_set(vm, name)
    _delete(system, vm, name)


def _delete(system: System, vm: str, name: str) -> None:
    system.events.fire(vm, f"domain-feature-pre-delete:{name}", feature=name)
    del system.qubes[vm].features[name]
    extensions.after_delete(system, vm, name)
    system.events.fire(vm, f"domain-feature-delete:{name}", feature=name)


def _check_permitted(name: str) -> None:
    if name in _OWN:
        raise Unanswered(f"{name} may not be changed")


def _not_set(vm: str, name: str) -> Refused:
    return Refused("QubesFeatureNotFoundError", "Feature not set for domain %s: %s", vm, name)
