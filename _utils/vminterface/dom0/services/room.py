"""Whether a VM's disk has room for what dom0 is about to send: asked before the first byte goes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0.services import commands
from vminterface.errors import ServiceFailed, ServiceNotFound, printable

#: Bytes from which on it is asked: what is smaller fails at once where there is no room.
FROM = 16 << 20
_LIMIT = 4096
_SECONDS = 30.0
_STATUS = 28
# A place that is no folder may be a command: nothing is known of that, unless there is another place to ask for.
_SCRIPT = """cd -- "$HOME" || exit 1
for place; do if [ -d "$place" ]; then df -Pk -- "$place" | tail -n 1; exit; fi; done; exit 3"""
_LINE = re.compile(rb".* ([0-9]{1,15}) +[0-9]+ +([0-9]{1,15}) +[0-9]+% +/.*\n?\Z", re.DOTALL)


def check(qrexec: Qrexec, vm: str, places: Sequence[str], needed: int, what: str) -> None:
    """Raise ServiceFailed if the first folder of *places* in *vm* has less than *needed* bytes free for its user.

    *places* are paths, below the user's home unless absolute; *what* begins the message. Where none is a folder, or the
    VM cannot say how much is free, nothing is raised. Raises else as :meth:`Qrexec.call`.
    """
    if needed < FROM:
        return
    try:
        output = commands.execute(
            qrexec, vm, ["sh", "-c", _SCRIPT, "sh", *places], stdout_limit=_LIMIT, timeout=_SECONDS, name="df"
        )
    except (ServiceNotFound, ServiceFailed):
        return
    found = _LINE.fullmatch(output.untrusted_stdout)
    if output.status or not found:
        return
    free = int(found[2]) * 1024
    if free < needed:
        raise ServiceFailed(
            f"{what}: {printable(places[0])} in {vm} has {free} bytes free (expected at least {needed})", _STATUS
        )
