"""dom0's menu: asked for anew only where a VM offers other applications than it has."""

from __future__ import annotations

from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure.step import Step, not_so
from vminterface.dom0.menu.entries import compare
from vminterface.dom0.menu.find import find
from vminterface.dom0.services import appmenus


def appmenus_synced(qrexec: Qrexec, vm: str) -> Step:
    """Let dom0's menu have the applications of *vm*, and no others of it: compared are names and other texts.

    A VM that offers none leaves it as it is, as Qubes' own program does. Raises as :func:`appmenus.get`.
    """
    what = "the applications in dom0's menu"
    offered = appmenus.get(qrexec, vm)
    menu = find()
    desired = menu.desired(offered)
    left_out = f"; {offered.dropped} texts of the VM are not accepted" if offered.dropped else ""
    if not desired:
        return Step(vm, what, already=f"unchanged: the VM offers none{left_out}")
    changes = compare(menu.read(vm), desired)
    if not changes:
        return Step(vm, what, already=f"are the VM's{left_out}")

    def update() -> None:
        menu.update(vm, offered)
        if compare(menu.read(vm), desired):
            raise not_so(vm, what)

    return Step(vm, what, changes, update, done=f"brought up to date{left_out}")
