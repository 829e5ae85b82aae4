"""``qubes.WaitForRunningSystem``: answer when the VM has started all that it starts by itself.

No input, no output. qubesd waits for it before it pauses a preloaded disposable. After Qubes core-agent-linux's handler
(status of ``systemctl is-system-running``, and the failed units where the system is up but degraded), which waits
without end. A VM without systemd has no such state, and counts as running.
"""

from __future__ import annotations

import os

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, ServiceFailed, printable
from vminterface.vm.handlers.runtime import config
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.handlers.runtime.programs import Program
from vminterface.vm.handlers.waitforsession import FAILED_UNITS, unit_names
from vminterface.vm.machine.machine import Machine

#: Seconds, unless the VM's configuration says otherwise: as long as dom0 gives a VM's start and more.
TIMEOUT = 300
_PAUSE = 0.3
_LIMIT = 4096
#: States that pass by themselves (systemctl(1), is-system-running), also that of a manager that cannot be asked yet.
_STARTING = ("initializing", "starting", "unknown", "")


def handle(call: Call) -> None:
    """Wait for it.

    Raises InvalidValue (an argument), DeadlineExceeded, ConnectionLost (the caller closed the connection),
    ProgramMissing, ServiceFailed (degraded, or it does not run any more).
    """
    call.refuse_argument()
    machine = call.machine
    seconds = config.seconds(machine, config.SYSTEM_TIMEOUT, TIMEOUT)
    if not machine.exists("/run/systemd/system"):
        return
    deadline, caller = Deadline.after(seconds), Caller(call.stdout.fileno(), known_at_start=True)
    while (state := _state(caller, deadline)) in _STARTING:
        if deadline.remaining <= _PAUSE:
            raise DeadlineExceeded(f"the system was not up within {deadline.seconds:g} s")
        caller.wait(seconds=_PAUSE)
    if state == "degraded":
        raise ServiceFailed(f"the system is up, but these units failed: {_failed(machine)}", 1)
    if state != "running":
        raise ServiceFailed(f"the system is not starting: its state is '{printable(state, 40)}'", 1)


def _state(caller: Caller, deadline: Deadline) -> str:
    """Return the state of the service manager once it has done all of its jobs. Raises as :func:`handle`."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            systemctl = Program(["systemctl", "is-system-running", "--wait"], stdout=writing, env={"LC_ALL": "C"})
        finally:
            os.close(writing)
        with systemctl:
            try:
                _, untrusted_state = systemctl.reply(reading, caller, limit=_LIMIT, deadline=deadline)
            except DeadlineExceeded:
                raise DeadlineExceeded(f"the system was not up within {deadline.seconds:g} s") from None
    finally:
        os.close(reading)
    return untrusted_state.decode("latin-1").strip()


def _failed(machine: Machine) -> str:
    return unit_names(machine.run(["systemctl", *FAILED_UNITS]).decode("utf-8", "replace"))
