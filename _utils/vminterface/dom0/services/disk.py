"""``qubes.ResizeDisk``: let a running VM use all of a volume that has grown. Source: Qubes core-agent-linux."""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE
from vminterface.values.volume import Volume as Volume

SERVICE = "qubes.ResizeDisk"


def resize(qrexec: Qrexec, vm: str, volume: Volume, *, timeout: float = 600.0) -> None:
    """Grow the file system on *volume* of *vm* to the volume's size. Raises as :meth:`Qrexec.call`."""
    stdin = volume.render().encode("ascii")
    qrexec.call(Call(vm, SERVICE, user="root", stdin=stdin, stdout_limit=NOISE, timeout=timeout))
