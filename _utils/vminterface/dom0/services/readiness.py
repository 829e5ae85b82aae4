"""``qubes.WaitForRunningSystem`` and ``qubes.WaitForNetworkUplink``: wait until a VM is up, and its network.

Sources: Qubes core-agent-linux (both handlers, R4.3), core-admin ``qubes/vm/dispvm.py``, which waits for the first
before it pauses a preloaded disposable, and ``qubes/vm/mix/net.py``, which waits for the second when a VM has got
another netvm while it was paused.
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE
from vminterface.errors import ServiceFailed

SYSTEM = "qubes.WaitForRunningSystem"
UPLINK = "qubes.WaitForNetworkUplink"
#: systemctl's status of every state but ``running``.
_NOT_RUNNING = 1
_NOT_UP = 3
#: How a degraded system shows: the stock handler's first line is systemctl's word, ours has a sentence.
_DEGRADED = ("degraded", f"{SYSTEM}: the system is up")


def wait_for_system(qrexec: Qrexec, vm: str, *, timeout: float = 60.0) -> bool:
    """Wait until *vm* has started all that it starts by itself; False: it has, but some of its units have failed.

    Raises ServiceFailed for a system that does not start any more, DeadlineExceeded after *timeout* seconds, else as
    :meth:`Qrexec.call`.
    """
    try:
        qrexec.call(Call(vm, SYSTEM, stdout_limit=NOISE, timeout=timeout))
    except ServiceFailed as error:
        if error.status == _NOT_RUNNING and error.stderr.startswith(_DEGRADED):
            return False
        raise
    return True


def wait_for_uplink(qrexec: Qrexec, vm: str, *, timeout: float = 10.0) -> bool:
    """Wait until the network interface of *vm* is in work, if it has one; False: it is not so within some seconds.

    The VM decides how long it waits: 3 seconds with the stock handler, 8 with ours. Raises as :meth:`Qrexec.call`.
    """
    try:
        user = "root" if qrexec.in_dom0 else None
        qrexec.call(Call(vm, UPLINK, user=user, stdout_limit=NOISE, timeout=timeout))
    except ServiceFailed as error:
        if error.status == _NOT_UP:
            return False
        raise
    return True
