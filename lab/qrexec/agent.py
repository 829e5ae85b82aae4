"""The qrexec agent of a lab VM, once for each call: find the program, become the user, pass the streams on.

Started in the VM as root, with the caller's three streams and the caller's connection, on which it says how the call
ended. A caller that goes away takes the streams with it, not the program, as with the real agent: the program's stdin
ends, its stdout is shut down for reading, its stderr has nobody at the other end (qrexec ``process_io.c``).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from contextlib import suppress

from lab.qrexec import lookup
from lab.qrexec.command import Command
from lab.qrexec.handler import Handler, Who
from lab.qrexec.status import NOT_FOUND, PROBLEM
from lab.qrexec.streams import copy

#: Where the session's own server of calls listens; that it is there says that the session is up.
SESSION = "/run/qubes/qrexec-server.{}.sock"
WAIT_FOR_SESSION = "qubes.WaitForSession"
_DEFAULT_USER = "DEFAULT"


#: What this call has started.
_STARTED: list[Handler] = []


class Problem(Exception):
    """The call cannot be answered. The arguments are the exit status and the reason."""

    @property
    def status(self) -> int:
        """The exit status."""
        return int(self.args[0])


def main(words: list[str]) -> int:
    """Answer the call that *words* tell of: VM's root, its default user, the connection's descriptor, the command."""
    root, default_user, descriptor, text = words
    command = Command(**json.loads(text))
    connection = socket.socket(fileno=int(descriptor))
    connection.set_inheritable(False)
    threading.Thread(target=_watch_caller, args=(connection,), daemon=True).start()
    try:
        status = _reply(command, root, default_user)
    except Problem as problem:
        os.write(2, f"qrexec-agent: {problem.args[1]}\n".encode("utf-8", "replace"))
        status = problem.status
    with suppress(OSError):
        connection.send(json.dumps({"status": status}).encode())
    os._exit(0)  # a thread may still wait for the caller's input


def _watch_caller(connection: socket.socket) -> None:
    """Wait until the caller is gone; then let what was started find its streams ended, and its end be awaited."""
    with suppress(OSError):
        connection.recv(1)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for handler in _STARTED:
        handler.part()


def _reply(command: Command, root: str, default_user: str) -> int:
    user = default_user if command.user == _DEFAULT_USER else command.user
    if command.shell:
        return _run(Handler(_who(user, root), ["/bin/sh", "-lc", command.shell], {}, root))
    program = lookup.program(command, root)
    if program is None:
        raise Problem(NOT_FOUND, f"no service {command.service} here")
    try:
        configured = lookup.configuration(command, root)
    except (lookup.BadConfiguration, OSError) as error:
        raise Problem(PROBLEM, f"the configuration of {command.service}: {error}") from None
    who = _who(configured.force_user or user, root)
    if configured.wait_for_session and not command.nogui:
        _wait_for_session(command, default_user, root)
    return _run(_handler(command, program, who, root))


def _who(user: str, root: str) -> Who:
    found = Who.find(user, root)
    if found is None:
        raise Problem(PROBLEM, f"no user {user} here")
    return found


def _handler(command: Command, program: str, who: Who, root: str) -> Handler:
    if not os.access(program, os.X_OK):
        raise Problem(PROBLEM, f"{program} is no program")
    variables = {
        "QREXEC_REMOTE_DOMAIN": command.source,
        "QREXEC_SERVICE_FULL_NAME": command.descriptor,
        "QREXEC_REQUESTED_TARGET_TYPE": "",
        "QREXEC_AGENT_PID": str(os.getpid()),
    }
    if command.argument is not None:
        variables["QREXEC_SERVICE_ARGUMENT"] = command.argument
    if os.path.exists(root + SESSION.format(who.name)) and not command.nogui:
        variables["DISPLAY"] = ":0"
    return Handler(who, [program, *([command.argument] if command.argument else [])], variables, root)


def _wait_for_session(command: Command, user: str, root: str) -> None:
    """Ask the VM's own service, and go on whatever it says, as the real agent does."""
    waiting = Command("root", command.source, WAIT_FOR_SESSION)
    program = lookup.program(waiting, root)
    if program is not None:
        handler = _handler(waiting, program, _who("root", root), root)
        handler.start()
        handler.stdin.sendall(f"{user}\n".encode())
        handler.stdin.close()
        output = threading.Thread(target=copy, args=(handler.stderr, 2), daemon=True)
        output.start()
        copy(handler.stdout.fileno(), os.open(os.devnull, os.O_WRONLY))
        handler.wait()


def _run(handler: Handler) -> int:
    """Start *handler*, pass its streams on until it has closed its outputs and ended; return its exit status."""
    handler.start()
    _STARTED.append(handler)

    def feed() -> None:
        copy(0, handler.stdin.fileno())
        with suppress(OSError):
            handler.stdin.shutdown(socket.SHUT_WR)
        os.close(0)

    def collect() -> None:
        copy(handler.stdout.fileno(), 1)
        with suppress(OSError):
            handler.stdout.shutdown(socket.SHUT_RD)  # it stays open: a handler that polls it sees nothing
        os.close(1)

    def complain() -> None:
        handler.copy_messages(2)

    threading.Thread(target=feed, daemon=True).start()
    outputs = [threading.Thread(target=collect), threading.Thread(target=complain)]
    for thread in outputs:
        thread.start()
    status = handler.wait()
    for thread in outputs:
        thread.join()
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
