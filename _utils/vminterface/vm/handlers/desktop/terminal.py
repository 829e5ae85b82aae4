"""The terminal emulator that shows a program."""

from __future__ import annotations

from vminterface.errors import ProgramMissing
from vminterface.vm.handlers.desktop.choice import chosen
from vminterface.vm.machine.machine import Machine

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Sequence

#: An admin may name another one here; the program and its arguments are added.
COMMAND = "/etc/vminterface/terminal-command"
#: Tried in this order; the options make each end with its program, and not to hand it to one that runs already.
TERMINALS = (
    ("xdg-terminal-exec",),
    ("gnome-terminal", "--wait", "--"),
    ("xfce4-terminal", "--disable-server", "-x"),
    ("konsole", "--separate", "-e"),
    ("mate-terminal", "--disable-factory", "-x"),
    ("xterm", "-e"),
    ("urxvt", "-e"),
    ("x-terminal-emulator", "-e"),
)


def in_terminal(machine: Machine, argv: Sequence[str]) -> list[str]:
    """Return what runs *argv* in a terminal. Raises ProgramMissing, VMInterfaceError (COMMAND is bad)."""
    if (words := chosen(machine, COMMAND)) is not None:
        return [*words, *argv]
    for name, *options in TERMINALS:
        if (program := machine.which(name)) is not None:
            return [program, *options, *argv]
    looked = ", ".join(one[0] for one in TERMINALS)
    raise ProgramMissing(f"no terminal emulator is installed (expected one of {looked})")
