"""Answer one call: import the handler of its service, run it, and report its end as one line and an exit status.

On the way to a handler nothing is imported that is not needed: a caller waits for the interpreter's start each time.
"""

from __future__ import annotations

import os
import sys

from vminterface.errors import CallRefused, ServiceFailed, ServiceNotFound, VMInterfaceError, printable
from vminterface.values.acceptance import IGNORE, NOTES, REFUSE
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.owner import Owner
from vminterface.vm.handlers.runtime.table import SERVICES
from vminterface.vm.machine.controldomain import require_vm
from vminterface.vm.machine.machine import Machine

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from signal import SIGTERM, signal
    from typing import BinaryIO, Literal
else:
    try:
        # What signal itself is made of. To name the signals it loads enum, which is a fifth of a handler's start.
        from _signal import SIGTERM, signal
    except ImportError:
        from signal import SIGTERM, signal

#: Qubes core-qrexec's QREXEC_EXIT_REQUEST_REFUSED and QREXEC_EXIT_SERVICE_NOT_FOUND.
REFUSED, NOT_FOUND = 126, 127
_LINE_LIMIT = 400


def main(service: str, root: str = "/") -> int:
    """Answer the call of *service* that this process was started for, on the machine below *root*.

    Returns the exit status: that of the handler, 0 by default; after a fault 1 or what the fault itself asks for, with
    one printable line ``SERVICE: reason`` on standard error. A caller that is gone gets no line. SIGTERM ends the
    handler as an exception does, with status 143.
    """
    signal(SIGTERM, _terminate)
    try:
        return _reply(service, Machine(root))
    except BrokenPipeError:
        return 1
    except Exception as error:
        expected = isinstance(error, VMInterfaceError)
        # An OSError's own words name the file, other exceptions need their kind.
        reason = str(error) if expected or isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        _complain(service, reason if expected else f"unexpected fault: {reason}")
        if isinstance(error, ServiceNotFound):
            return NOT_FOUND
        if isinstance(error, CallRefused):
            return REFUSED
        return error.status if isinstance(error, ServiceFailed) else 1


def _reply(service: str, machine: Machine) -> int:
    row = SERVICES.get(service)
    if row is None:
        raise ServiceNotFound("this VM has no handler for that service")
    # Whoever has put one into dom0's /etc/qubes-rpc, and whatever the policy says.
    require_vm(machine, "handler", "vminterface handlers remove")
    verdict = Owner(machine).service(service)
    if verdict.word == REFUSE:
        raise CallRefused(f"{NOTES[REFUSE]}: {verdict.reason}")
    if verdict.word == IGNORE:
        # As where there is no handler: a status of success would mislead the caller.
        raise ServiceNotFound(f"{NOTES[IGNORE]}: {verdict.reason}")
    name = f"vminterface.vm.handlers.{row.module}"
    with _stream(0, os.O_RDONLY) as stdin, _stream(1, os.O_WRONLY) as stdout:
        call = Call.received(service, machine, stdin, stdout, environment=os.environ, arguments=sys.argv[1:])
        __import__(name)
        status: int | None = sys.modules[name].handle(call)
    return status or 0


def _stream(descriptor: int, flags: int) -> BinaryIO:
    """Return the unbuffered stream of *descriptor*; of one that is closed, an empty one in its place."""
    try:
        os.fstat(descriptor)
    except OSError:
        descriptor = os.open(os.devnull, flags)
    mode: Literal["rb", "wb"] = "rb" if flags == os.O_RDONLY else "wb"
    return open(descriptor, mode, buffering=0, closefd=False)


def _terminate(*_: object) -> None:
    raise SystemExit(128 + SIGTERM)


def _complain(service: str, reason: str) -> None:
    line = printable("; ".join(reason.splitlines()) or "failed", _LINE_LIMIT)
    try:
        os.write(2, f"{service}: {line}\n".encode("ascii"))
    except OSError:
        return  # nobody is there to read it
