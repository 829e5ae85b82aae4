"""What somebody has written about a VM: ``admin.vm.notes.*``."""

from __future__ import annotations

from lab.qubesd.errors import Unanswered
from lab.qubesd.system import System
from vminterface.wire.qfile_characters import is_plain_character

#: Bytes of a note at most.
_LIMIT = 256000


def get_notes(system: System, vm: str) -> str:
    """Return the note, empty text where there is none. Raises Unanswered."""
    _check(vm)
    return system.qubes[vm].notes


def set_notes(system: System, vm: str, payload: bytes) -> None:
    """Keep a note; characters that are not safe to show become ``_``. Raises Unanswered."""
    _check(vm)
    if len(payload) > _LIMIT:
        raise Unanswered(f"a note of more than {_LIMIT} bytes")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise Unanswered(f"the note cannot be shown: {error}") from error
    system.qubes[vm].notes = "".join(c if c in "\t\n" or is_plain_character(ord(c)) else "_" for c in text)


def _check(vm: str) -> None:
    if vm == "dom0":
        raise Unanswered("dom0 has no notes")
