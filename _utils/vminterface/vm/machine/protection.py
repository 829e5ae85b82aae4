"""Which files of a VM its owner has protected: no tool changes them (Qubes core-agent's init/functions)."""

from __future__ import annotations

from vminterface.vm.machine.files import Files

#: Folders of files that name, one a line, what no tool may change.
PROTECTED_LISTS = ("/etc/qubes/protected-files.d", "/rw/config/protected-files.d")


def is_protected(files: Files, path: str) -> bool:
    """Whether an admin has named *path* on a line of its own in a list of protected files."""
    for folder in PROTECTED_LISTS:
        for name in files.names(folder):
            listed = f"{folder}/{name}"
            if files.is_file(listed) and path in (files.read_text(listed) or "").split("\n"):
                return True
    return False
