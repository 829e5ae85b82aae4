"""``qubes.PostInstall``: have a VM report its features and applications to dom0, as after an installation.

Source: Qubes core-agent-linux ``qubes.PostInstall``; dom0 calls it of a template that was just imported
(core-admin-client ``qvm_template_postprocess.py``).
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE

SERVICE = "qubes.PostInstall"


def post_install(qrexec: Qrexec, vm: str, *, timeout: float = 600.0) -> str:
    """Let *vm* announce itself; return its output, printable lines. Raises as :meth:`Qrexec.call`."""
    return qrexec.call(Call(vm, SERVICE, user="root", stdout_limit=NOISE, timeout=timeout)).stderr
