"""Applications that dom0 wants to open files in disposables, not here (feature ``service.app-dispvm.ID``).

Sources: Qubes core-admin ``qubes/ext/services.py`` (the keys), core-agent-linux ``qubes.StartApp`` (the environment).
"""

from __future__ import annotations

from vminterface.errors import VMInterfaceError
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.session import read_key

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import MutableMapping

#: A data folder in which disposables open every kind of file; it comes with Qubes core-agent-linux.
OVERRIDE = "/usr/share/qubes/xdg-override"
#: Variables by which an application would find other openers.
_OTHERS = ("XDG_DATA_HOME", "GNOME_DESKTOP_SESSION_ID")
_CLIENT = "qubesdb-read"
#: Characters of an id that fits into the older key, which has 63 at most.
_SHORT = 37


def desired(machine: Machine, id_: str) -> bool:
    """Whether dom0 wants this of the application *id_*, by the key of its hash or the older one of its name."""
    if machine.which(_CLIENT) is None:
        return False
    if read_key(machine, f"hash-app-dispvm/{_hash(id_)}") == id_:
        return True
    return len(id_) <= _SHORT and read_key(machine, f"qubes-service/app-dispvm.{id_}") is not None


def prepare(machine: Machine, environment: MutableMapping[str, str]) -> None:
    """Let *environment* be that of such an application. Raises VMInterfaceError where that cannot be had."""
    if not machine.is_folder(OVERRIDE):
        raise VMInterfaceError(
            f"dom0 requires its files to be opened in disposables, which this VM cannot do (expected {OVERRIDE})"
        )
    for variable in _OTHERS:
        environment.pop(variable, None)
    environment["XDG_DATA_DIRS"] = OVERRIDE


def _hash(id_: str) -> str:
    import base64
    import hashlib

    return base64.urlsafe_b64encode(hashlib.sha256(id_.encode("ascii")).digest()).decode("ascii").rstrip("=")
