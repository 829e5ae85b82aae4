"""Which program the VM's admin wants for something: one line in a file, quoted as in a shell."""

from __future__ import annotations

import shlex

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.files import Files


def chosen(machine: Files, path: str) -> list[str] | None:
    """Return the words of the command in the file *path*, None if the file does not exist.

    Raises VMInterfaceError for a file that names no program, or cannot be read.
    """
    text = machine.read_text(path)
    if text is None:
        return None
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise VMInterfaceError(f"{path}: {error}") from None
    if not words:
        raise VMInterfaceError(f"{path} does not name a program")
    return words
