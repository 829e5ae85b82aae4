"""Volumes of VMs: how large they are, and how they grow (core-admin ``api/admin.py``, ``storage/``).

What qubesd does besides, to let a running VM's file system grow by ``qubes.ResizeDisk``, is not done here.
"""

from __future__ import annotations

from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.system import System

_DIGITS = 20


def info(system: System, vm: str, volume: str) -> str:
    """Return what is known of a volume, a line each. Raises Unanswered."""
    size = _size(system, vm, volume)
    facts = {
        "pool": "vm-pool", "vid": f"qubes_dom0/vm-{vm}-{volume}", "size": size, "usage": size // 8,
        "rw": volume == "private", "source": "", "path": "", "save_on_stop": volume == "private",
        "snap_on_start": volume == "root", "revisions_to_keep": 2, "ephemeral": False, "is_outdated": False,
    }  # fmt: skip
    return "".join(f"{name}={value}\n" for name, value in facts.items())


def resize(system: System, vm: str, volume: str, payload: bytes) -> None:
    """Give a volume more room. Raises Refused, Unanswered."""
    current = _size(system, vm, volume)
    text = payload.decode("ascii", "replace").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS:
        raise Unanswered("no size in bytes")
    if int(text) < current:
        what = f"qubes_dom0/vm-{vm}-{volume}"
        raise Refused(
            "StoragePoolException", f"For your own safety, shrinking of {what} is disabled ({text} < {current})."
        )
    system.qubes[vm].volumes[volume] = int(text)


def _size(system: System, vm: str, volume: str) -> int:
    try:
        return system.qubes[vm].volumes[volume]
    except KeyError:
        raise Unanswered(f"{vm} has no volume {volume}") from None
