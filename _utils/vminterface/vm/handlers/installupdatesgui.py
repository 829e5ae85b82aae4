"""``qubes.InstallUpdatesGUI``: let the user of this VM install its updates, in a terminal.

No input, no output. It is done by root in the user's terminal: ``su`` asks for a password where the VM wants one. Then
Qubes' own check of updates, if there is one, reports to dom0 how many are left, and in a template the user may go on to
shut it down. The terminal stays where the caller goes: nobody ends a package manager at its work. After Qubes
core-agent-linux's ``qubes.InstallUpdatesGUI``.

An admin may name another command, one line for root's shell, in ``/etc/vminterface/update-command``.
"""

from __future__ import annotations

import os

from vminterface.errors import InvalidValue, ProgramMissing, printable
from vminterface.vm.handlers.desktop import run
from vminterface.vm.handlers.desktop.terminal import in_terminal
from vminterface.vm.handlers.runtime import programs
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine

COMMAND = "/etc/vminterface/update-command"
#: Package managers and what updates with them, tried in this order.
MANAGERS = {
    "dnf": "dnf upgrade --best --refresh",
    "yum": "yum update",
    "apt-get": "apt-get update && apt-get -V dist-upgrade",
    "pacman": "pacman -Syu",
    "zypper": "zypper refresh && zypper update",
}
#: Exists in templates alone.
TEMPLATE = "/run/qubes/this-is-templatevm"
_LIMIT = 4096
_AFTER = """
echo
systemctl --quiet is-enabled qubes-update-check.timer 2>/dev/null && systemctl start qubes-update-check.service
if [ -e {template} ]; then
    printf 'Done. Press Enter to shut this template down, or Ctrl-C to close the window. '
    read -r reply && poweroff
else
    printf 'Done. Press Enter to close the window. '
    read -r reply
fi
exit 0
"""


def handle(call: Call) -> None:
    """Open the terminal and wait for its end. Raises InvalidValue (an argument, a bad file), ProgramMissing."""
    call.refuse_argument()
    script = f"{_command(call.machine)}{_AFTER.format(template=call.machine.path(TEMPLATE))}"
    shell = ["sh", "-c", script] if os.geteuid() == 0 else ["su", "-s", "/bin/sh", "-l", "-c", script]
    run.run(call.machine, in_terminal(call.machine, shell), call.service, environment=programs.environment())


def _command(machine: Machine) -> str:
    """Return what updates this VM. Raises InvalidValue, ProgramMissing."""
    text = machine.read_text(COMMAND, limit=_LIMIT)
    if text is not None:
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) != 1 or "\0" in text:
            raise InvalidValue(f"{COMMAND}: '{printable(text, 60)}' is not a valid command (expected one line)")
        return lines[0]
    for name, command in MANAGERS.items():
        if machine.which(name) is not None:
            return command
    raise ProgramMissing(
        f"no package manager is installed (expected one of {', '.join(MANAGERS)}, or a command in {COMMAND})"
    )
