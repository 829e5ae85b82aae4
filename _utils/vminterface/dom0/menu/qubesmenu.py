"""The menu of Qubes' dom0: files in the home of its desktop's user, which ``qvm-sync-appmenus`` writes.

Source: Qubes desktop-linux-common, ``qubesappmenus`` (places and forms) and ``qubes.SyncAppMenus`` (whose menu it is).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil

from vminterface.channel import process
from vminterface.channel.process import Conversation
from vminterface.deadline import Deadline
from vminterface.dom0.menu import desktopfile
from vminterface.dom0.menu.entries import KEYS, START, Fields, desired_of
from vminterface.errors import ProgramFailed, ProgramMissing, VMInterfaceError, printable
from vminterface.values.appmenu import MenuEntries

PROGRAM = "qvm-sync-appmenus"
#: The first of its members is the desktop's user.
GROUP = "qubes"
#: Seconds that the program has: it fetches the icons one by one.
TIMEOUT = 600.0
_OUTPUT_LIMIT = 1 << 20
_VM_NAME = "%VMNAME%"
#: What stands before the VM's own text.
_BEFORE = {"Name": f"{_VM_NAME}: ", "GenericName": f"{_VM_NAME}: ", "StartupWMClass": f"{_VM_NAME}:"}
_CATEGORY = "X-Qubes-VM;"


class QubesMenu:
    """The menu of *user*, by default that of dom0's desktop. Raises VMInterfaceError if the user does not exist."""

    def __init__(self, user: str | None = None) -> None:
        self._user = user or _desktop_user()
        try:
            self._home = pwd.getpwnam(self._user).pw_dir
        except KeyError:
            raise VMInterfaceError(
                f"the user {printable(self._user, 60)}, the owner of the menu, does not exist in dom0"
            ) from None

    def read(self, vm: str) -> dict[str, Fields]:
        """See :class:`~vminterface.dom0.menu.entries.Menu`."""
        folder = f"{self._home}/.local/share/qubes-appmenus/{vm}/apps.templates"
        found: dict[str, Fields] = {}
        for name in desktopfile.names(folder):
            id_ = name.removesuffix(desktopfile.SUFFIX)
            if id_ != START:
                found[id_] = _fields(desktopfile.read(f"{folder}/{name}"))
        return found

    def desired(self, offered: MenuEntries) -> dict[str, Fields]:
        """See :class:`~vminterface.dom0.menu.entries.Menu`."""
        return desired_of(offered)

    def update(self, vm: str, offered: MenuEntries) -> None:
        """Have Qubes' own program ask *vm* once more, icons too, and write the menus of it and of all based on it."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise ProgramMissing(f"{PROGRAM} is not installed")
        argv = [program, vm]
        if os.geteuid() == 0 and self._user != "root":
            argv = ["runuser", "-u", self._user, "--", "env", f"HOME={self._home}", "DISPLAY=:0", *argv]
        what = f"{PROGRAM} {vm}"
        ended = process.run(argv, what, Deadline.after(TIMEOUT), Conversation(stdout_limit=_OUTPUT_LIMIT))
        if ended.status:
            lines = [line for line in ended.untrusted_stderr.splitlines() if line.strip()]
            said = printable(lines[-1], 300) if lines else ""
            raise ProgramFailed(f"{what}: exit status {ended.status}{said and ': '}{said}", ended.status)


def _desktop_user() -> str:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        members = grp.getgrnam(GROUP).gr_mem
    except KeyError:
        members = []
    if not members:
        raise VMInterfaceError(f"dom0's group '{GROUP}' has no member (expected the user of the menu)")
    return members[0]


def _fields(values: Fields) -> dict[str, str]:
    """Return those of a file's *values* that the VM has sent."""
    found = {key: values[key].removeprefix(_BEFORE.get(key, "")) for key in KEYS if key in values}
    categories = found.pop("Categories", "").removesuffix(_CATEGORY)
    if categories:
        found["Categories"] = categories
    return found
