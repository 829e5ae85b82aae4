"""What features do beside being kept: qubesd's extensions ``services``, ``vm_config`` and ``custom_persist``.

Each checks a feature after it has been stored, so that a bad one stays although the call fails.
"""

from __future__ import annotations

import base64
import hashlib

from lab.qubesd.errors import invalid
from lab.qubesd.system import System

_SERVICE, _CONFIG, _PERSIST, _DISPVM = "service.", "vm-config.", "custom-persist.", "app-dispvm."
_PERSIST_MAX, _CONFIG_MAX, _SERVICE_MAX = 54, 52, 48
#: Services that a feature of another name switches too, at a VM's start alone (extension ``r3compatibility``).
_OLD_NAMES = {
    "service.ntpd": "ntpd",
    "check-updates": "qubes-update-check",
    "dvm": "qubes-dvm",
    "updates-proxy-setup": "yum-proxy-setup",
}


def check(system: System, vm: str, feature: str, value: str) -> None:
    """Raise Refused for a feature that is not stored at all."""
    if feature.startswith(_SERVICE):
        name = feature.removeprefix(_SERVICE)
        if not name:
            raise invalid("Service name cannot be empty")
        if name in (".", ".."):
            raise invalid('Service name cannot be "." or ".."')
        if len(name) > _SERVICE_MAX and not name.startswith(_DISPVM):
            raise invalid("Service name must not exceed 48 bytes")
    elif feature.startswith("preload-dispvm-"):
        _check_preload(system, vm, feature, value)


def _check_preload(system: System, vm: str, feature: str, value: str) -> None:
    klass = system.qubes[vm].klass
    if feature == "preload-dispvm-max" and klass in ("AppVM", "StandaloneVM"):
        if not system.inherited(vm, "qrexec", "template"):
            raise invalid("Qube does not support qrexec")
        if not system.inherited(vm, "supported-rpc.qubes.WaitForRunningSystem", "template"):
            raise invalid("Qube does not support the RPC 'qubes.WaitForRunningSystem'")
    digits = feature == "preload-dispvm-max" and klass in ("AppVM", "StandaloneVM", "AdminVM")
    if digits or (feature == "preload-dispvm-threshold" and klass == "AdminVM"):
        if value and not value.isdigit():
            raise invalid("Invalid %s value: not a digit", feature)
    elif feature == "preload-dispvm-delay" and klass in ("AppVM", "StandaloneVM", "AdminVM"):
        try:
            float(value or "0")
        except ValueError:
            raise invalid("Invalid preload-dispvm-delay value: not an integer or float") from None


def is_meminfo_writer(feature: str) -> bool:
    """Whether the feature is one that becomes another ``maxmem`` and is not kept."""
    return feature == "service.meminfo-writer"


def after_set(system: System, vm: str, feature: str, value: str) -> None:
    """Let the keys of a running VM follow a feature. Raises Refused for one that is bad, Unanswered."""
    if feature.startswith(_CONFIG):
        _check_config(feature.removeprefix(_CONFIG))
    elif feature.startswith(_PERSIST):
        _check_persist(feature.removeprefix(_PERSIST), value)
    if system.qubes[vm].running:
        for key, text in _keys(feature, value).items():
            system.write(vm, key, text) if text is not None else system.remove(vm, key)


def after_delete(system: System, vm: str, feature: str) -> None:
    """Remove the keys of a feature that is gone from a running VM."""
    if system.qubes[vm].running and not is_meminfo_writer(feature):
        for key in _keys(feature, "1"):
            system.remove(vm, key)


def fill(system: System, vm: str) -> None:
    """Write the keys of all features of a VM. Raises Refused for a bad one, Unanswered."""
    features = system.qubes[vm].features
    for feature, value in features.items():
        if feature.startswith(_PERSIST):
            _check_persist(feature.removeprefix(_PERSIST), value)
        for key, text in _keys(feature, value).items():
            if text is not None:
                system.write(vm, key, text)
    system.write(vm, "qubes-service/meminfo-writer", "0" if system.value(vm, "maxmem") == "0" else "1")
    for feature, service in _OLD_NAMES.items():
        if feature in features:
            system.write(vm, f"qubes-service/{service}", _flag(features[feature]))


def _keys(feature: str, value: str) -> dict[str, str | None]:
    """Return the keys that a feature becomes; None: it takes the key away."""
    found: dict[str, str | None] = {}
    if feature.startswith(_SERVICE):
        name = feature.removeprefix(_SERVICE)
        if name.startswith(_DISPVM):
            app = name.removeprefix(_DISPVM)
            digest = base64.urlsafe_b64encode(hashlib.sha256(app.encode()).digest()).decode().rstrip("=")
            found[f"hash-app-dispvm/{digest}"] = app if value else None
        if len(name) <= _SERVICE_MAX:
            found[f"qubes-service/{name}"] = _flag(value)
    elif feature.startswith(_CONFIG):
        found[f"vm-config/{feature.removeprefix(_CONFIG)}"] = value
    elif feature.startswith(_PERSIST):
        found[f"persist/{feature.removeprefix(_PERSIST)}"] = value
    return found


def _flag(value: str) -> str:
    return "1" if value else "0"


def _check_config(name: str) -> None:
    if len(name) > _CONFIG_MAX:
        raise invalid("VM config name must not exceed 46 bytes")
    if not name:
        raise invalid("Empty config name not allowed")
    if not (name[0].isascii() and name[0].isalpha()):
        raise invalid("Config name must start with an ASCII letter")


def _check_persist(name: str, value: str) -> None:
    if not name:
        raise invalid("custom-persist key cannot be empty")
    if len(name) > _PERSIST_MAX:
        raise invalid("custom-persist key is too long (max %s), ignoring: %s", _PERSIST_MAX, name)
    if value.startswith("/"):
        return
    parts = value.split(":")
    if len(parts) < 5 or not parts[4].startswith("/"):
        raise invalid("invalid value format: '%s'", value)
    if parts[0] not in ("file", "dir"):
        raise invalid("invalid resource type option '%s' in value '%s'", parts[0], value)
    try:
        fits = 0 <= int(parts[3], 8) <= 0o7777
    except ValueError:
        fits = False
    if not fits:
        raise invalid("invalid mode option '%s' in value '%s'", parts[3], value)
