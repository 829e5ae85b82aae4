"""The store of this VM's keys: its QubesDB, or where it has none, the XenStore."""

from __future__ import annotations

from vminterface.channel.qubesdb.places import find_socket
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import KeyStore
from vminterface.channel.xenstore.store import XenStore
from vminterface.vm.machine.files import Files


def open_own_store(machine: Files) -> KeyStore:
    """Connect *machine* to its QubesDB, whose socket is among its own files, or where it has none, to the XenStore."""
    folder = None if machine.is_whole else f"{machine.root}/run/qubes"
    return XenStore.open() if find_socket(None, folder) is None else QubesDB.open(folder=folder)
