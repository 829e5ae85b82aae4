"""Volumes of VMs: how large they are, and how they grow (core-admin ``api/admin.py``, ``storage/__init__.py``)."""

from __future__ import annotations

from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.system import System

#: Of a number in a payload (``api/__init__.py``).
_DIGITS = 19


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
    """Give a volume more room, and have the VM, where it runs, let its file system grow. Raises Refused, Unanswered.

    The volume keeps what it got where the file system does not grow.
    """
    current = _size(system, vm, volume)
    text = payload.decode("ascii", "replace").strip()
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS or (text[0] == "0" and text != "0"):
        raise Unanswered("no size in bytes")
    qube, what = system.qubes[vm], f"qubes_dom0/vm-{vm}-{volume}"
    if int(text) < current:
        raise Refused(
            "StoragePoolException", f"For your own safety, shrinking of {what} is disabled ({text} < {current})."
        )
    qube.volumes[volume] = int(text)
    if qube.running:
        try:
            system.serve(vm, "qubes.ResizeDisk", volume.encode())
        except Exception as error:
            raise Refused(
                "StoragePoolException",
                f"Online resize of volume {what} failed (you need to resize filesystem manually): {error}",
            ) from error


def _size(system: System, vm: str, volume: str) -> int:
    try:
        return system.qubes[vm].volumes[volume]
    except KeyError:
        raise Unanswered(f"{vm} has no volume {volume}") from None
