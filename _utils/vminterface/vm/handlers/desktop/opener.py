"""The program that opens a file or an address with whatever application is there for its kind."""

from __future__ import annotations

from vminterface.errors import ProgramMissing
from vminterface.vm.handlers.desktop.choice import chosen
from vminterface.vm.machine.machine import Machine

#: An admin may name another one here; what is to be opened is added.
COMMAND = "/etc/vminterface/open-command"
#: Tried in this order.
OPENERS = ("qubes-open", "xdg-open")
#: With a desktop named, xdg-open hands over to a running program and returns before the user has seen anything.
WAITING = {"DE": "generic", "XDG_CURRENT_DESKTOP": "X-Generic"}


def opener(machine: Machine) -> list[str]:
    """Return the words that begin the command line. Raises ProgramMissing, VMInterfaceError (COMMAND is bad)."""
    if (words := chosen(machine, COMMAND)) is not None:
        return words
    for name in OPENERS:
        if (program := machine.which(name)) is not None:
            return [program]
    raise ProgramMissing(f"no program to open files is installed (expected one of {', '.join(OPENERS)})")
