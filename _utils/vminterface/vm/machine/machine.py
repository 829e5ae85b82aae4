"""The one door of the VM wing to this machine: its files and its programs, and whose network these see."""

from __future__ import annotations

import os

from vminterface.vm.machine.files import Files
from vminterface.vm.machine.programs import Programs

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any


def network_of(process: int | str) -> tuple[int, int] | None:
    """Return what identifies the network that *process*, a process id or "self", sees; None where that is hidden.

    Two processes that see one network have the same answer. The kernel keeps these files once for each network
    namespace and, other than the link ``ns/net``, shows them to everybody who sees the process.
    """
    try:
        found = os.stat(f"/proc/{process}/net/dev")
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Machine(Files, Programs):
    """This machine, or the one whose files are below *root*; who needs less takes Files or Programs."""

    @property
    def has_own_network(self) -> bool:
        """Whether the interfaces that this program sees are this machine's: not those of the host of a folder.

        A folder has an own network only where that can be seen to be another than process 1's. Where it cannot be
        seen, the network is the host's.
        """
        host = network_of(1)
        return self.is_whole or (host is not None and network_of("self") not in (None, host))

    def netlink(self) -> AbstractContextManager[Any]:
        """Open a pyroute2.IPRoute; None where that is not installed or this is not the kernel of these files."""
        import contextlib

        if self.is_whole:
            with contextlib.suppress(ImportError):
                from pyroute2 import IPRoute

                socket: AbstractContextManager[Any] = IPRoute()
                return socket
        return contextlib.nullcontext()
