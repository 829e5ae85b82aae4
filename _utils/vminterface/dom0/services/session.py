"""``qubes.WaitForSession``: wait until the user of a VM is logged in there.

Source: Qubes core-qrexec ``qubes.WaitForSession`` and, for R2 to R4.0, core-agent-linux. The service itself has no
deadline; here it always has one.
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.deadline import Deadline
from vminterface.dom0.services.reply import NOISE
from vminterface.errors import ServiceFailed
from vminterface.values.vmname import parse_default_user

SERVICE = "qubes.WaitForSession"
#: systemctl's status for a session that is up with failed units.
_DEGRADED = 1


def wait(
    qrexec: Qrexec, vm: str, *, user: str = "user", timeout: float = 60.0, deadline: Deadline | None = None
) -> bool:
    """Wait until the session of *user* in *vm* is up; False: it is, but some of its units have failed.

    Releases up to R4.0 need the name of the *user*; later ones know it themselves.
    *deadline* holds in place of *timeout*. Raises InvalidValue, DeadlineExceeded after *timeout* seconds, else as
    :meth:`Qrexec.call`.
    """
    name = parse_default_user(user).encode("ascii")
    try:
        qrexec.call(Call(vm, SERVICE, stdin=name, stdout_limit=NOISE, timeout=timeout, deadline=deadline))
    except ServiceFailed as error:
        # The status of other failures too; but then the handler has another reason to give behind the service's name.
        other = error.stderr.startswith(f"{SERVICE}:") and not error.stderr.startswith(f"{SERVICE}: the session is up")
        if error.status == _DEGRADED and not other:
            return False
        raise
    return True
