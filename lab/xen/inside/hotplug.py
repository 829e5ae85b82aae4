"""In a VM that is a network backend: connects the interfaces of clients that come, and removes those that went.

The backend driver connects an interface only when a script has made ``hotplug-status`` ``connected`` (xen-netback
``xenbus.c``); one that the toolstack has taken offline waits, closed, for its keys to be removed (``xl devd``). What
belongs to the interface, address, route, and firewall, is the agent's work.
"""

from __future__ import annotations

from contextlib import suppress

from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, KeyNotFound

FOLDER = "backend/vif"
#: Seconds after which to look without an event.
CHECK_SECONDS = 2.0
#: XenbusStateClosed of xen/include/public/io/xenbus.h.
CLOSED = b"6"


def inspect(store: XenStore) -> None:
    """Do what is due for each interface."""
    for domid in store.list(FOLDER):
        for device in store.list(f"{FOLDER}/{domid}"):
            path = f"{FOLDER}/{domid}/{device}"
            status, online, state = store.read_many([f"{path}/{key}" for key in ("hotplug-status", "online", "state")])
            if online == b"0" and state == CLOSED:
                store.remove(path)
            elif status is None:
                store.write(f"{path}/hotplug-status", b"connected")


def main() -> None:
    """Do so until the VM ends."""
    with XenStore.open() as store, store.watch([FOLDER]) as watch:
        while True:
            with suppress(KeyNotFound):  # no client yet, or one that goes while we look
                inspect(store)
            with suppress(DeadlineExceeded):
                watch.next(Deadline.after(CHECK_SECONDS))


if __name__ == "__main__":
    main()
