"""``qubes.WaitForSession``: answer when the user's session is up.

Input: the user's name, which nobody needs any more: dom0 tells the VM. No output. After Qubes core-qrexec's handler
(status 1 and the failed units where the session is up but degraded), which waits without end and takes an argument
for no fault.
"""

from __future__ import annotations

import os
import stat

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, InvalidValue, ProgramFailed, ServiceFailed, printable
from vminterface.vm.handlers import config
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.caller import Caller
from vminterface.vm.handlers.session import account, default_user, told
from vminterface.vm.machine import Machine

#: Seconds, unless the VM's configuration says otherwise: as long as dom0 gives a VM's start and more.
TIMEOUT = 300
_TIMEOUT_LIMIT = 24 * 3600
_PAUSE = 0.1
#: The socket of the fork server, which the session starts when it is up.
SOCKET = "/run/qubes/qrexec-server.{}.sock"


def handle(call: Call) -> None:
    """Wait for the session.

    Raises InvalidValue (an argument), DeadlineExceeded, ConnectionLost (the caller has gone), ServiceFailed (degraded).
    """
    call.refuse_argument()
    text = config.option(call.machine, config.SESSION_TIMEOUT, str(TIMEOUT))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and 0 < int(text) <= _TIMEOUT_LIMIT):
        shown = f"{config.PATH}: '{printable(text, 40)}' is no {config.SESSION_TIMEOUT}"
        raise InvalidValue(f"{shown} (expected seconds, 1 to {_TIMEOUT_LIMIT})")
    # The agent starts it too, before services that wait for the session, and may not listen to it.
    wait(call.machine, float(text), Caller(call.stdout.fileno(), known_at_start=True))


def wait(machine: Machine, timeout: float, caller: Caller) -> None:
    """Wait *timeout* seconds at most for the session of the VM's default user. Raises as :func:`handle` does."""
    deadline = Deadline.after(timeout)
    user = default_user(machine)
    session = _has_session(machine)
    if session:
        path = SOCKET.format(user)
        while not _is_socket(machine, path):
            _pause(deadline, caller, f"the session of {user} (there is no {path})")
    if machine.exists("/run/systemd/system"):
        while not _systemd_is_done(machine, user, deadline, session):
            _pause(deadline, caller, f"the services of {user}'s session")


def _has_session(machine: Machine) -> bool:
    """Whether this VM has a graphical session: dom0 may have given it none."""
    return told(machine, "qubes-gui-enabled") in (None, "True")


def _is_socket(machine: Machine, path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(machine.path(path)).st_mode)
    except OSError:
        return False


def _systemd_is_done(machine: Machine, user: str, deadline: Deadline, session: bool) -> bool:
    """Whether the user's service manager has started all there is to start.

    Raises ServiceFailed where it is not there and nothing is to be expected that would start it.
    """
    try:
        state = _systemctl(machine, user, deadline, "show", "--property=SystemState", "--value")
    except ProgramFailed as error:
        # Whoever logs in, as a session does, is given that folder first, and then the manager.
        if session and machine.is_folder(_runtime_folder(machine, user)):
            return False  # not up yet
        raise ServiceFailed(f"there is no service manager of {user}, nor a session to start it: {error}", 1) from None
    if state == "degraded":
        failed = _systemctl(machine, user, deadline, "list-units", "--failed", "--plain", "--no-legend")
        units = ", ".join(line.split()[0] for line in failed.splitlines() if line.strip())
        raise ServiceFailed(f"the session is up, but these units failed: {units}", 1)
    return state == "running"


def _systemctl(machine: Machine, user: str, deadline: Deadline, *words: str) -> str:
    command = ["systemctl", "--user", *words]
    if _account_of_other(machine, user) is not None:
        command = ["runuser", "-u", user, "--", *command]
    environment = {"XDG_RUNTIME_DIR": _runtime_folder(machine, user)}
    timeout = max(_PAUSE, deadline.remaining)
    return machine.run(command, env=environment, timeout=timeout).decode("utf-8", "replace").strip()


def _runtime_folder(machine: Machine, user: str) -> str:
    """Return the folder in which the sockets of the user's session are."""
    other = _account_of_other(machine, user)
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if other is None and own.startswith("/"):
        return own
    return f"/run/user/{os.geteuid() if other is None else other}"


def _account_of_other(machine: Machine, user: str) -> int | None:
    """Return the number of *user*, None if this program runs as that user, or cannot run another as that user."""
    found = account(machine, user)
    return found[0] if os.geteuid() == 0 and user != "root" and found is not None else None


def _pause(deadline: Deadline, caller: Caller, what: str) -> None:
    if deadline.remaining <= _PAUSE:
        raise DeadlineExceeded(f"{what} was not up within {deadline.seconds:g} s")
    caller.wait(seconds=_PAUSE)
