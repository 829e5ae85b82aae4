"""The last notices of a VM, in one file for each VM: the features that it requests, and whether it has updates."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vminterface.dom0.transfer.wholefile import FileError, write_whole
from vminterface.errors import InvalidValue, printable
from vminterface.values import featurerequest
from vminterface.values.vmname import VMName

#: The folder, unless this variable of the environment names another one.
FOLDER = "/var/lib/vminterface/notices"
FOLDER_VARIABLE = "VMINTERFACE_NOTICES"
_SUFFIX = ".json"
_LIMIT = 1 << 20


@dataclass(slots=True)
class Notices:
    """Of one VM: *features* by name; whether it has *updates*, None without a notice; the time of either, UTC."""

    features: dict[str, str] = field(default_factory=dict)
    updates: bool | None = None
    features_at: str = ""
    updates_at: str = ""


def read(vm: str) -> Notices:
    """Return the notices of *vm*, empty for one that sent none. Raises InvalidValue, FileError."""
    path = _path(vm)
    try:
        with open(path, "rb") as file:
            raw = json.loads(file.read(_LIMIT))
        return _parsed(raw)
    except FileNotFoundError:
        return Notices()
    except OSError as error:
        raise FileError.at(path, error) from error
    except (ValueError, RecursionError) as error:
        raise InvalidValue(
            f"{printable(path)}: not a valid record of a VM's notices: {printable(str(error))}"
        ) from None


def write(vm: str, notices: Notices) -> None:
    """Keep *notices* of *vm*. Raises InvalidValue, FileError."""
    path = _path(vm)
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    except OSError as error:
        raise FileError.at(os.path.dirname(path), error) from error
    write_whole(path, [json.dumps(as_data(notices), indent=1, sort_keys=True).encode("ascii") + b"\n"])


def as_data(notices: Notices) -> dict[str, Any]:
    """Return *notices* as plain data."""
    return {
        "features": dict(notices.features),
        "features_at": notices.features_at,
        "updates": notices.updates,
        "updates_at": notices.updates_at,
    }


def vms() -> list[str]:
    """Return the VMs that sent notices, sorted. Raises FileError."""
    folder = _folder()
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError.at(folder, error) from error
    return sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX) and name[0] != ".")


def _folder() -> str:
    return os.environ.get(FOLDER_VARIABLE) or FOLDER


def _path(vm: str) -> str:
    return f"{_folder()}/{VMName.parse(vm).render()}{_SUFFIX}"


def _parsed(raw: object) -> Notices:
    if not isinstance(raw, Mapping):
        raise InvalidValue("is not a mapping (expected features, times and updates)")
    features, updates = raw.get("features", {}), raw.get("updates")
    times = [raw.get("features_at", ""), raw.get("updates_at", "")]
    if not isinstance(features, Mapping) or not all(isinstance(text, str) for text in (*features.values(), *times)):
        raise InvalidValue("features or times are not text (expected text)")
    if updates is not None and not isinstance(updates, bool):
        raise InvalidValue("updates is not valid (expected true, false or null)")
    for name, value in features.items():
        featurerequest.check(name, value)
    return Notices(dict(features), updates, *times)
