"""Where the sockets of QubesDBs are. Nothing here speaks to them: a host without any loads nothing that does."""

from __future__ import annotations

import os

from vminterface.errors import ConnectionLost
from vminterface.values.vmname import VMName

#: Where the sockets are: the environment's folder alone if it names one, as in a lab; else these.
FOLDER_VARIABLE = "VMINTERFACE_QUBESDB_DIR"
FOLDERS = ("/run/qubes", "/var/run/qubes")
#: The socket of qubesd, which runs where VMs have QubesDBs.
QUBESD_SOCKETS = ("/run/qubesd.sock", "/var/run/qubesd.sock")


def folders(folder: str | None = None) -> tuple[str, ...]:
    """Return the folders in which sockets may be: *folder*, else the environment's, else the usual ones."""
    named = folder or os.environ.get(FOLDER_VARIABLE)
    return (named,) if named else FOLDERS


def find_socket(vm: str | None = None, folder: str | None = None) -> str | None:
    """Return the socket of *vm* as dom0 sees it, of this VM itself for None; None where there is none.

    Raises InvalidValue for an invalid VM name.
    """
    name = "qubesdb.sock" if vm is None else f"qubesdb.{VMName.parse(vm).render()}.sock"
    for place in folders(folder):
        path = os.path.join(place, name)
        if os.path.exists(path) and not _is_read_only(path):
            return path
    return None


def find_vms(folder: str | None = None) -> list[str]:
    """Return the names of the VMs that have a socket here, of a daemon that runs or not. Raises ConnectionLost."""
    for place in folders(folder):
        try:
            entries = os.listdir(place)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except OSError as error:
            # As where this process has no descriptor left: that is no host without VMs.
            raise ConnectionLost(f"{place}: {error.strerror or error}") from error
        names = [name[8:-5] for name in entries if name.startswith("qubesdb.") and name.endswith(".sock")]
        return sorted(vm for vm in names if vm and not _is_read_only(os.path.join(place, f"qubesdb.{vm}.sock")))
    return []


def in_use(folder: str | None = None) -> bool:
    """Whether VMs have QubesDBs on this host: one of them has a socket, or dom0 has its own, or qubesd its."""
    if find_vms(folder) or any(os.path.exists(os.path.join(place, "qubesdb.sock")) for place in folders(folder)):
        return True
    return folders(folder) == FOLDERS and any(map(os.path.exists, QUBESD_SOCKETS))


def _is_read_only(path: str) -> bool:
    """Whether *path* is another's read-only socket: a VM may be called ``x.ro`` just as well."""
    return path.endswith(".ro.sock") and os.path.exists(path.removesuffix(".ro.sock") + ".sock")
