"""Run a program for the VM's user: it has the session, and lives on whatever becomes of the call."""

from __future__ import annotations

import os
import select
import time

from vminterface.errors import ServiceFailed
from vminterface.vm.handlers.desktop.journal import open_journal
from vminterface.vm.handlers.runtime.programs import Program

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vminterface.vm.machine.machine import Machine

#: Seconds within which a program that fails has not been of use to anybody. What it ends with later is the user's
#: affair: a terminal ends with the status of the last command in it.
MOMENTS = 3.0


def run(
    machine: Machine,
    argv: Sequence[str],
    name: str,
    *,
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> None:
    """Start *argv* and wait for its end, however long the user works with it.

    Its output goes to the journal under *name*. *environment* stands in place of this program's own, *folder* is
    its working directory. The call may be over long before: then dom0 gets no result, and the program continues.
    Raises ProgramMissing, ServiceFailed if it fails within MOMENTS.
    """
    began = time.monotonic()
    messages = open_journal(machine, name)
    try:
        program = Program(argv, stdout=messages, stderr=messages, environment=environment, folder=folder, leave=True)
    finally:
        os.close(messages)
    with program:
        status = program.wait()
    if status and time.monotonic() - began < MOMENTS:
        raise ServiceFailed(
            f"{program.name} ended with status {status} at once (in the VM, 'journalctl -t {name}' has its messages)", 1
        )


def wait_for(process: int) -> None:
    """Wait for the end of a process that is not this program's child; one that is gone is not waited for."""
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        return
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        waiting.poll()
    finally:
        os.close(descriptor)
