"""The last part of a demo: an application of a VM becomes an entry of dom0's menu, and that entry starts it."""

from __future__ import annotations

from pathlib import Path

from lab.demo.checks import heading, require
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.services import appmenus, apps

_FILE = "home/user/.local/share/applications/demo/notes.desktop"
_ID = "demo-notes"
_NAME = "Notes of the demo"
_DONE = "home/user/notes-were-opened"
_DESKTOP = f"""[Desktop Entry]
Type=Application
Name={_NAME}
TryExec=sh
Exec=sh -c 'echo "$0" >"$HOME/notes-were-opened"' %c
"""


def demonstrate(qrexec: Qrexec, vm: str, root: Path) -> None:
    """Put the application into *vm*, whose files are below *root* and whose session is up. Raises Broken."""
    heading(f"An application of {vm}, from dom0's menu")
    file = root / _FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_DESKTOP)
    (root / _DONE).unlink(missing_ok=True)
    entries = {entry.id: entry.values.get("Name") for entry in appmenus.get(qrexec, vm)}
    require(entries.get(_ID) == _NAME, f"{vm} lists {_ID}, '{_NAME}'")
    apps.start(qrexec, vm, _ID, wait=True, timeout=60)
    require((root / _DONE).read_text() == f"{_NAME}\n", f"qubes.StartApp+{_ID} has started it")
