"""The menu of a dom0 without Qubes' own: a desktop file for each application, for all users of its desktop.

Each starts its application by ``vminterface call VM qubes.StartApp+ID``. Icons stay the desktop's own affair.
"""

from __future__ import annotations

import os

from vminterface.dom0.menu import desktopfile
from vminterface.dom0.menu.entries import KEYS, Fields, desired_of
from vminterface.dom0.transfer.wholefile import FileError, write_whole
from vminterface.values.appmenu import MenuEntries

#: Where an admin's desktop files are, unless this variable of the environment names another folder.
FOLDER = "/usr/local/share/applications"
FOLDER_VARIABLE = "VMINTERFACE_MENU"
_PREFIX = "vminterface."
#: Characters of an id: the name of its file has a bound.
_ID_LIMIT = 150
#: What stands before the VM's own text.
_NAMING = {"Name": "{}: ", "GenericName": "{}: ", "StartupWMClass": "{}:"}
#: As it is in the files of Qubes' own menu: a name has no dot then, which ends it.
_ESCAPES = str.maketrans({"_": "_u", "-": "_d", ".": "_p"})


class PlainMenu:
    """The desktop files in *folder*."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder or os.environ.get(FOLDER_VARIABLE) or FOLDER

    def read(self, vm: str) -> dict[str, Fields]:
        """See :class:`~vminterface.dom0.menu.entries.Menu`."""
        found: dict[str, Fields] = {}
        for id_, name in self._files(vm).items():
            values = desktopfile.read(f"{self._folder}/{name}")
            fields = {key: values[key] for key in KEYS if key in values}
            for key in _NAMING:
                if key in fields:
                    fields[key] = fields[key].removeprefix(_NAMING[key].format(vm))
            found[id_] = fields
        return found

    def desired(self, offered: MenuEntries) -> dict[str, Fields]:
        """See :class:`~vminterface.dom0.menu.entries.Menu`; an id that would make too long a file name is left out."""
        return {id_: fields for id_, fields in desired_of(offered).items() if len(id_) <= _ID_LIMIT}

    def update(self, vm: str, offered: MenuEntries) -> None:
        """See :class:`~vminterface.dom0.menu.entries.Menu`; a file that is as it shall be is not written."""
        try:
            os.makedirs(self._folder, exist_ok=True)
        except OSError as error:
            raise FileError.at(self._folder, error) from error
        has, wants = self.read(vm), self.desired(offered)
        for id_, fields in wants.items():
            if has.get(id_) != fields:
                write_whole(f"{self._folder}/{_file(vm, id_)}", [_rendered(vm, id_, fields)])
        for id_, name in self._files(vm).items():
            if id_ not in wants:
                path = f"{self._folder}/{name}"
                try:
                    os.unlink(path)
                except OSError as error:
                    raise FileError.at(path, error) from error

    def _files(self, vm: str) -> dict[str, str]:
        """Return the names of the files of *vm*, by id."""
        start = _file(vm, "").removesuffix(desktopfile.SUFFIX)
        mine = [name for name in desktopfile.names(self._folder) if name.startswith(start)]
        return {name.removeprefix(start).removesuffix(desktopfile.SUFFIX): name for name in mine}


def _file(vm: str, id_: str) -> str:
    return f"{_PREFIX}_{vm.translate(_ESCAPES)}.{id_}{desktopfile.SUFFIX}"


def _rendered(vm: str, id_: str, fields: Fields) -> bytes:
    # The texts and the id have passed the parser of values.appmenu: no quotes, no percent sign, no end of a line.
    lines = ["[Desktop Entry]", "Version=1.0", "Type=Application", "Terminal=false"]
    lines += [f"{key}={_NAMING.get(key, '').format(vm)}{value}" for key, value in fields.items()]
    lines.append(f"Exec=vminterface call {vm} qubes.StartApp+{id_}")
    return "".join(f"{line}\n" for line in lines).encode("ascii")
