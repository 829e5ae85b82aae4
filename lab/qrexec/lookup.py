"""Which program of a VM answers a service, and what its configuration says, as Qubes core-qrexec finds them out."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from lab.qrexec.command import SERVICE_MAX, Command

PROGRAMS = ("/run/qubes-rpc", "/usr/local/etc/qubes-rpc", "/etc/qubes-rpc")
CONFIGURATIONS = ("/run/qubes/rpc-config", "/usr/local/etc/qubes/rpc-config", "/etc/qubes/rpc-config")
_LIMIT = 4096
_LINE = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)[ \t]*=[ \t]*('[^']*'|true|false|0|1)[ \t]*(#.*)?", re.ASCII)
_FLAGS = ("wait-for-session", "exit-on-client-eof", "exit-on-service-eof", "skip-service-descriptor")
_USER = "force-user"


class BadConfiguration(Exception):
    """A service's configuration that makes its calls fail."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """How a service wants to be started."""

    wait_for_session: bool = False
    force_user: str | None = None

    @classmethod
    def parse(cls, text: str) -> Configuration:
        """Read ``key = value`` lines; an unknown key is passed over. Raises BadConfiguration."""
        found: dict[str, str] = {}
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            shown = _LINE.fullmatch(line)
            if shown is None or shown[1] in found or not _fits(shown[1], shown[2]):
                raise BadConfiguration(f"line {number}: '{line[:80]}' is no setting, or a second one")
            found[shown[1]] = shown[2]
        user = found.get(_USER)
        return cls(found.get("wait-for-session") in ("true", "1"), user[1:-1] if user else None)


def _fits(key: str, value: str) -> bool:
    """Whether *value* is of the kind that *key* takes; of an unknown key every kind is."""
    if key == _USER:
        return value.startswith("'")
    if key in _FLAGS:
        return value in ("true", "false") or (key == "wait-for-session" and value in "01")
    return True


def _names(command: Command) -> list[str]:
    """Return the names of files that may answer, the best first."""
    with_argument = f"{command.service}+{command.argument or ''}"
    return [name for name in (with_argument, command.service) if len(name) <= SERVICE_MAX]


def _first(command: Command, folders: tuple[str, ...], root: str) -> str | None:
    for name in _names(command):
        for folder in folders:
            if os.path.lexists(path := f"{root}{folder}/{name}"):
                return path
    return None


def program(command: Command, root: str = "") -> str | None:
    """Return the file that answers *command* below *root*; None if there is none."""
    return _first(command, PROGRAMS, root)


def configuration(command: Command, root: str = "") -> Configuration:
    """Return how the service wants to be started. Raises BadConfiguration, OSError."""
    path = _first(command, CONFIGURATIONS, root)
    if path is None:
        return Configuration()
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        text = file.read(_LIMIT + 1)
    if len(text) > _LIMIT:
        raise BadConfiguration(f"{path}: longer than {_LIMIT} characters")
    return Configuration.parse(text)
