"""Which distribution this VM runs, by the features that dom0 notes: ``os-distribution``, ``os-version``, ``os-eol``.

Sources: os-release(5), distro-info's tables, and Qubes core-agent-linux ``10-qubes-core-agent-features.sh`` (which of
their words become which feature).
"""

from __future__ import annotations

import shlex

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.files import Files

#: The first that is there is read (os-release(5)).
FILES = ("/etc/os-release", "/usr/lib/os-release")
#: Of Debian and Ubuntu: a line a version; its sixth column is the end of the support.
TABLES = "/usr/share/distro-info"
_EOL = 5
#: Distributions on top of another one: what marks each, and where its version is.
_ON_DEBIAN = (
    ("kicksecure", "/usr/share/kicksecure/marker", "/etc/kicksecure_version"),
    ("whonix", "/usr/share/whonix/marker", "/etc/whonix_version"),
)
_LIMIT = 65536


def features(machine: Files) -> dict[str, str]:
    """Return what is known of the distribution; missing fields are left out."""
    values = _values(machine)
    name, like, version = values.get("ID", ""), values.get("ID_LIKE", ""), values.get("VERSION_ID", "")
    end = values.get("SUPPORT_END", "")
    for other, mark, place in _ON_DEBIAN:
        if machine.is_file(mark):
            name, like, version = other, "debian", (_text(machine, place) or "").strip()
            break
    end = end or _end_of(machine, name, version)
    found = {"os-distribution": name, "os-distribution-like": like, "os-version": version, "os-eol": end}
    return {feature: value for feature, value in found.items() if value}


def _values(machine: Files) -> dict[str, str]:
    text = next(filter(None, (_text(machine, path) for path in FILES)), "")
    values = {}
    for line in text.splitlines():
        key, equals, quoted = line.partition("=")
        try:
            words = shlex.split(quoted, comments=True) if equals else []
        except ValueError:
            continue
        if len(words) == 1:
            values[key.strip()] = words[0]
    return values


def _end_of(machine: Files, name: str, version: str) -> str:
    if not name.isalnum() or not version:
        return ""
    for line in (_text(machine, f"{TABLES}/{name}.csv") or "").splitlines():
        columns = line.split(",")
        # Ubuntu's versions have a note: "24.04 LTS".
        if len(columns) > _EOL and columns[0].split(" ")[0] == version:
            return columns[_EOL]
    return ""


def _text(machine: Files, path: str) -> str | None:
    try:
        return machine.read_text(path, limit=_LIMIT)
    except VMInterfaceError:
        return None
