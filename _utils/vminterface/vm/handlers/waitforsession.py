"""``qubes.WaitForSession``: answer when the user's session is up.

Input: the user's name, no longer needed: the VM has it from dom0. No output. After Qubes core-qrexec's handler
(status 1 and the failed units where the session is up but degraded), which waits without end and takes an argument
for no fault.
"""

from __future__ import annotations

import os
import stat

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, ProgramFailed, ServiceFailed
from vminterface.vm.handlers.runtime import config
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import Caller
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs
from vminterface.vm.machine.session import account, default_user, read_key

#: Seconds, unless the VM's configuration says otherwise: as long as dom0 gives a VM's start and more.
TIMEOUT = 300
_PAUSE = 0.1
#: The socket of the fork server, which the session starts when it is up.
SOCKET = "/run/qubes/qrexec-server.{}.sock"
#: What systemctl is asked for the units that failed.
FAILED_UNITS = ("list-units", "--failed", "--plain", "--no-legend")


def handle(call: Call) -> None:
    """Wait for the session.

    Raises InvalidValue (an argument), DeadlineExceeded, ConnectionLost (the caller closed the connection),
    ServiceFailed (degraded).
    """
    call.refuse_argument()
    seconds = config.seconds(call.machine, config.SESSION_TIMEOUT, TIMEOUT)
    # The agent starts it too, before services that wait for the session, and may not listen to it.
    wait(call.machine, seconds, Caller(call.stdout.fileno(), known_at_start=True))


def wait(machine: Machine, timeout: float, caller: Caller) -> None:
    """Wait *timeout* seconds at most for the session of the VM's default user. Raises as :func:`handle` does."""
    deadline = Deadline.after(timeout)
    user = default_user(machine)
    session = _has_session(machine)
    if session:
        path = SOCKET.format(user)
        while not _is_socket(machine, path):
            _pause(deadline, caller, f"the session of {user} ({path} does not exist)")
    if machine.exists("/run/systemd/system"):
        while not _systemd_is_done(machine, user, deadline, session):
            _pause(deadline, caller, f"the services of {user}'s session")


def _has_session(machine: Programs) -> bool:
    """Whether this VM has a graphical session: dom0 may have given it none."""
    return read_key(machine, "qubes-gui-enabled") in (None, "True")


def _is_socket(machine: Files, path: str) -> bool:
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
        raise ServiceFailed(f"{user} has neither a service manager nor a session to start one: {error}", 1) from None
    if state == "degraded":
        failed = _systemctl(machine, user, deadline, *FAILED_UNITS)
        raise ServiceFailed(f"the session is up, but these units failed: {unit_names(failed)}", 1)
    return state == "running"


def unit_names(listed: str) -> str:
    """Return the names of the units that systemctl has *listed* by FAILED_UNITS, with commas between."""
    return ", ".join(line.split()[0] for line in listed.splitlines() if line.strip())


def _systemctl(machine: Machine, user: str, deadline: Deadline, *words: str) -> str:
    command = ["systemctl", "--user", *words]
    if _account_of_other(machine, user) is not None:
        command = ["runuser", "-u", user, "--", *command]
    environment = {"XDG_RUNTIME_DIR": _runtime_folder(machine, user)}
    timeout = max(_PAUSE, deadline.remaining)
    return machine.run(command, env=environment, timeout=timeout).decode("utf-8", "replace").strip()


def _runtime_folder(machine: Files, user: str) -> str:
    """Return the folder in which the sockets of the user's session are."""
    other = _account_of_other(machine, user)
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if other is None and own.startswith("/"):
        return own
    return f"/run/user/{os.geteuid() if other is None else other}"


def _account_of_other(machine: Files, user: str) -> int | None:
    """Return the number of *user*, None if this program runs as that user, or cannot run another as that user."""
    found = account(machine, user)
    return found[0] if os.geteuid() == 0 and user != "root" and found is not None else None


def _pause(deadline: Deadline, caller: Caller, what: str) -> None:
    if deadline.remaining <= _PAUSE:
        raise DeadlineExceeded(f"{what} was not up within {deadline.seconds:g} s")
    caller.wait(seconds=_PAUSE)
