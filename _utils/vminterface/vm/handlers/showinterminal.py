"""``qubes.ShowInTerminal``: show the caller's stream in a terminal, and send back what the user types there.

Input: any bytes, as a terminal takes them. Output: what is typed, a character at a time, since the terminal is raw. The
call ends with the input, or when the user closes the terminal, which closes with the call. After Qubes
core-agent-linux's ``qubes.ShowInTerminal``, by which ``qvm-console-dispvm`` shows the console of a VM; other than there
neither ``socat`` nor one certain terminal is needed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, ServiceFailed
from vminterface.vm.handlers.desktop import terminalend
from vminterface.vm.handlers.desktop.exchange import exchange
from vminterface.vm.handlers.desktop.journal import open_journal
from vminterface.vm.handlers.desktop.terminal import in_terminal
from vminterface.vm.handlers.runtime import programs
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller

#: Seconds for the terminal to appear.
TIMEOUT = 30.0
#: Seconds for it to end by itself when its program has.
LAST = 2.0


def handle(call: Call) -> None:
    """Show it until either side ends.

    Raises InvalidValue (an argument), ProgramMissing, ServiceFailed and DeadlineExceeded (no terminal appears),
    ConnectionLost (the caller closed the connection).
    """
    call.refuse_argument()
    caller = Caller(call.stdout.fileno())
    # Only this user finds the socket in it.
    folder = tempfile.mkdtemp(prefix="vminterface-terminal-", dir="/tmp")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listening:
            path = f"{folder}/socket"
            listening.bind(path)
            listening.listen(1)
            with _terminal(call, path) as terminal, _connection(terminal, caller, listening) as shown:
                exchange(call, caller, shown)
                # It may have some of the last bytes still to show.
                with contextlib.suppress(DeadlineExceeded):
                    terminal.wait(timeout=LAST)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _terminal(call: Call, path: str) -> programs.Program:
    """Start a terminal whose program goes to the socket *path*. Raises ProgramMissing, VMInterfaceError."""
    command = [sys.executable, "-IS", os.path.abspath(terminalend.__file__), path]
    messages = open_journal(call.machine, call.service)
    try:
        argv = in_terminal(call.machine, command)
        return programs.Program(argv, stdout=messages, stderr=messages, environment=programs.environment())
    finally:
        os.close(messages)


def _connection(terminal: programs.Program, caller: Caller, listening: socket.socket) -> socket.socket:
    """Return the connection of the program in the terminal. Raises ServiceFailed, DeadlineExceeded, ConnectionLost."""
    deadline = Deadline.after(TIMEOUT)
    ends = [terminal.fileno()]
    while True:
        ready = caller.wait(listening.fileno(), *ends, seconds=deadline.remaining)
        if listening.fileno() in ready:
            return listening.accept()[0]
        if ready:
            # One that hands over to a program that runs already is done at once; only a failure is the end.
            if status := terminal.wait():
                why = f"ended with status {status} before it opened a window"
                raise ServiceFailed(f"the terminal {terminal.name} {why}", 1)
            ends = []
        elif deadline.passed:
            raise DeadlineExceeded(f"the terminal {terminal.name} did not appear within {TIMEOUT:g} s")
