"""A feature of a VM in qubesd, checked before it is sent: name, text, and the families that mean something to Qubes.

qubesd stores a feature first and checks it then. A bad ``vm-config.NAME`` or ``custom-persist.NAME`` thus stays,
whatever the reply was, and keeps the VM from starting. Forms: Qubes core-admin, ``admin.vm.feature.Set`` and the
extensions ``services``, ``vm_config`` and ``custom_persist``.
"""

from __future__ import annotations

from collections.abc import Callable

from vminterface.errors import InvalidValue, printable
from vminterface.regex import regex
from vminterface.values import schema
from vminterface.values.service import ServiceName

#: Bytes that a value of QubesDB has at most; more of a feature cannot become a key.
_KEY_LIMIT = 3071
#: Bytes of a feature's text that fit into one request, with room for the longest names.
_TEXT_LIMIT = 60_000
_NAME = regex(r"[A-Za-z0-9_.-]{1,255}")
#: What :func:`check_name` takes.
NAME_SCHEMA = schema.text(_NAME.pattern)
_CONFIG = regex(r"[A-Za-z][A-Za-z0-9_.-]{0,51}")
#: QubesDB's paths have 63 characters at most, ``/persist/`` is nine of them.
_PERSISTED = regex(r"[A-Za-z0-9_.-]{1,54}")
_RESOURCE = regex(r"(?:file|dir):[^:]*:[^:]*:[0-7]{1,4}:(/.*)")


def check_name(name: str) -> None:
    """Raise InvalidValue unless qubesd takes a feature called *name*."""
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"'{printable(name, 60)}' is not a valid feature name (expected letters, digits, '_', '.' and '-')"
        )


def check(name: str, text: str) -> None:
    """Raise InvalidValue unless qubesd takes *text* as the feature called *name* and a VM with it can start."""
    check_name(name)
    if len(text) > _TEXT_LIMIT or any(not " " <= c <= "~" for c in text):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid text of the feature {name} (expected printable ASCII, at most"
            f" {_TEXT_LIMIT} characters)"
        )
    for prefix, check_member in _FAMILIES.items():
        if name.startswith(prefix):
            check_member(name, name.removeprefix(prefix), text)


def _service(name: str, member: str, text: str) -> None:
    ServiceName.parse(member)


def _config(name: str, member: str, text: str) -> None:
    if not _CONFIG.fullmatch(member):
        raise InvalidValue(f"the feature {name} cannot become a key (expected a letter first, at most 52 characters)")
    _fits(name, text)


def _custom_persist(name: str, member: str, text: str) -> None:
    if not _PERSISTED.fullmatch(member):
        raise InvalidValue(f"the feature {name} cannot become a key (expected 1 to 54 characters)")
    resource = _RESOURCE.fullmatch(text)
    path = resource[1] if resource else text
    if not path.startswith("/") or ".." in path.split("/"):
        raise InvalidValue(
            f"'{printable(text, 60)}' is not a valid text of the feature {name} (expected an absolute path without"
            " '..', or file:OWNER:GROUP:MODE:PATH, or dir:OWNER:GROUP:MODE:PATH with an octal mode)"
        )
    _fits(name, text)


def _fits(name: str, text: str) -> None:
    if len(text) > _KEY_LIMIT:
        raise InvalidValue(
            f"a text of {len(text)} characters is too long for the feature {name} (expected at most {_KEY_LIMIT})"
        )


_FAMILIES: dict[str, Callable[[str, str, str], None]] = {
    "service.": _service,
    "vm-config.": _config,
    "custom-persist.": _custom_persist,
}
