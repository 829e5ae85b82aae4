"""``qubes.WaitForSession``: answer when the user's session is up.

Input: the user's name, which nobody needs any more: dom0 tells the VM. No output. After Qubes core-qrexec's handler
(status 1 and the failed units where the session is up but degraded), which waits without end and takes an argument
for no fault.
"""

from __future__ import annotations

import os
import stat
import time

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, InvalidValue, ProgramFailed, ServiceFailed, printable
from vminterface.vm.handlers import config
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.session import account, default_user, told
from vminterface.vm.machine import Machine

#: Seconds, unless the VM's configuration says otherwise: as long as dom0 gives a VM's start and more.
TIMEOUT = 300
_TIMEOUT_LIMIT = 24 * 3600
_PAUSE = 0.1
#: The socket of the fork server, which the session starts when it is up.
SOCKET = "/run/qubes/qrexec-server.{}.sock"


def handle(call: Call) -> None:
    """Wait for the session. Raises InvalidValue (an argument), DeadlineExceeded, ServiceFailed (degraded)."""
    call.refuse_argument()
    text = config.option(call.machine, config.SESSION_TIMEOUT, str(TIMEOUT))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 6 and 0 < int(text) <= _TIMEOUT_LIMIT):
        shown = f"{config.PATH}: '{printable(text, 40)}' is no {config.SESSION_TIMEOUT}"
        raise InvalidValue(f"{shown} (expected seconds, 1 to {_TIMEOUT_LIMIT})")
    wait(call.machine, float(text))


def wait(machine: Machine, timeout: float) -> None:
    """Wait *timeout* seconds at most for the session of the VM's default user. Raises as :func:`handle` does."""
    deadline = Deadline.after(timeout)
    user = default_user(machine)
    if _has_session(machine):
        path = SOCKET.format(user)
        while not _is_socket(machine, path):
            _pause(deadline, f"the session of {user} (there is no {path})")
    if machine.exists("/run/systemd/system"):
        while not _systemd_is_done(machine, user, deadline):
            _pause(deadline, f"the services of {user}'s session")


def _has_session(machine: Machine) -> bool:
    """Whether this VM has a graphical session: dom0 has none of the kind, and may have given this VM none."""
    return not machine.exists("/etc/qubes-release") and told(machine, "qubes-gui-enabled") in (None, "True")


def _is_socket(machine: Machine, path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(machine.path(path)).st_mode)
    except OSError:
        return False


def _systemd_is_done(machine: Machine, user: str, deadline: Deadline) -> bool:
    """Whether the user's service manager has started all there is to start."""
    try:
        state = _systemctl(machine, user, deadline, "show", "--property=SystemState", "--value")
    except ProgramFailed:
        return False  # not up yet
    if state == "degraded":
        failed = _systemctl(machine, user, deadline, "list-units", "--failed", "--plain", "--no-legend")
        units = ", ".join(line.split()[0] for line in failed.splitlines() if line.strip())
        raise ServiceFailed(f"the session is up, but these units failed: {units}", 1)
    return state == "running"


def _systemctl(machine: Machine, user: str, deadline: Deadline, *words: str) -> str:
    command = ["systemctl", "--user", *words]
    found = account(machine, user)
    environment = {}
    if os.geteuid() == 0 and user != "root" and found is not None:
        command = ["runuser", "-u", user, "--", *command]
        environment = {"XDG_RUNTIME_DIR": f"/run/user/{found[0]}"}
    timeout = max(_PAUSE, deadline.remaining)
    return machine.run(command, env=environment, timeout=timeout).decode("utf-8", "replace").strip()


def _pause(deadline: Deadline, what: str) -> None:
    if deadline.remaining <= _PAUSE:
        raise DeadlineExceeded(f"{what} was not up within {deadline.seconds:g} s")
    time.sleep(_PAUSE)
