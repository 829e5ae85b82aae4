"""Which menu this dom0 has: Qubes' own where its program is installed, else plain desktop files."""

from __future__ import annotations

import shutil

from vminterface.dom0.menu.entries import Menu
from vminterface.dom0.menu.plainmenu import PlainMenu
from vminterface.dom0.menu.qubesmenu import PROGRAM, QubesMenu


def find() -> Menu:
    """Return the menu. Raises VMInterfaceError where dom0's desktop has no user."""
    return QubesMenu() if shutil.which(PROGRAM) else PlainMenu()
