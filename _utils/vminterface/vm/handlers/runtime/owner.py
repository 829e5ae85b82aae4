"""Which settings of dom0, and which service calls, this VM's owner accepts: ``agent.conf``, in two places.

The later file decides wherever it names a setting or service, by its name or by ``other-…``. While one of
them is not valid everything is refused: nobody knows what a line that cannot be read was to keep out.
"""

from __future__ import annotations

import os
import stat

from vminterface.errors import VMInterfaceError
from vminterface.values import acceptance
from vminterface.values.acceptance import ACCEPT, OTHER_HANDLERS, OTHER_SETTINGS, REFUSE
from vminterface.vm.handlers.runtime.table import SERVICES

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from vminterface.values.acceptance import Rule
    from vminterface.vm.machine.files import Files

#: A template's or an admin's default, then the VM's own.
PATHS = ("/etc/vminterface/agent.conf", "/rw/config/vminterface/agent.conf")
#: What the agent applies, in this order: what is applied later may depend on what was applied before.
SETTINGS = ("name", "timezone", "services", "network", "provider", "keyboard", "debug")
_LIMIT = 1 << 16


class Verdict:
    """The owner's choice for one setting or service: *word* is one of :data:`acceptance.WORDS`; *reason*."""

    __slots__ = ("reason", "word")

    def __init__(self, word: str, reason: str = "") -> None:
        self.word = word
        self.reason = reason


class Owner:
    """The rules of all files. ``error`` is the sentence about the first that is not valid; empty text: all are."""

    def __init__(self, machine: Files) -> None:
        self.error = ""
        self._files: list[tuple[str, dict[str, Rule]]] = []
        for path in PATHS:
            try:
                self._files.append((path, read(machine, path)))
            except VMInterfaceError as error:
                self.error = self.error or str(error)

    def setting(self, name: str) -> Verdict:
        """Return the owner's choice for the setting *name*."""
        return self._verdict(name, OTHER_SETTINGS)

    def service(self, name: str) -> Verdict:
        """Return the owner's choice for the service *name*; that of ``NAME`` holds for ``NAME+ARGUMENT``."""
        return self._verdict(name, name.partition("+")[0], OTHER_HANDLERS)

    def _verdict(self, *names: str) -> Verdict:
        if self.error:
            return Verdict(REFUSE, f"{self.error}; everything is refused until that is fixed")
        for path, rules in reversed(self._files):
            for name in names:
                if (rule := rules.get(name)) is not None:
                    return Verdict(rule.word, f"decided by its owner ({path}:{rule.number})")
        return Verdict(ACCEPT)


def read(machine: Files, path: str) -> dict[str, Rule]:
    """Return the rules of the file *path* by name, none if the file does not exist.

    Raises VMInterfaceError, a sentence with path and line, where it is not valid or cannot be read.
    """
    text = machine.read_text(path, limit=_LIMIT)
    if text is None and os.path.islink(machine.path(path)):
        raise VMInterfaceError(f"{path}: is a broken link (expected a file)")
    try:
        return acceptance.parse(text or "", SETTINGS, SERVICES)
    except acceptance.WrongLine as error:
        raise VMInterfaceError(f"{path}:{error.number}: {error}") from None


def stamp(machine: Files) -> tuple[tuple[int, ...], ...]:
    """Return numbers that change when a file has, or when it comes or goes."""
    return tuple(_stamp(machine, path) for path in PATHS)


def _stamp(machine: Files, path: str) -> tuple[int, ...]:
    numbers: list[int] = []
    try:
        place = machine.path(path)
    except (OSError, VMInterfaceError):
        return ()
    # The entry itself too: a link that leads nowhere, or round in a circle, is not the same as no file.
    for look in (os.lstat, os.stat):
        try:
            found = look(place)
        except OSError:
            break
        numbers += (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
        if not stat.S_ISLNK(found.st_mode):
            break
    return tuple(numbers)
