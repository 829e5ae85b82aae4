"""Debug mode: whether the GUI agent logs more, set in its environment file (Qubes gui-agent-linux)."""

from __future__ import annotations

from collections.abc import Mapping

from vminterface.values import flags
from vminterface.vm.machine.files import Files

ENVIRONMENT = "/run/qubes-service-environment"
LINE = "GUI_OPTS=-vv"


def apply(inputs: Mapping[str, str], machine: Files) -> str:
    """Add or remove the GUI agent's option for ``debug``; without it, debug mode is off.

    Returns what holds now. Raises InvalidValue and VMInterfaceError.
    """
    on = "debug" in inputs and flags.parse_one_zero(inputs["debug"])
    text = machine.read_text(ENVIRONMENT)
    lines = (text or "").splitlines()
    if on and LINE not in lines:
        machine.write_file(ENVIRONMENT, "\n".join([*lines, LINE, ""]))
    elif not on and LINE in lines:
        machine.write_file(ENVIRONMENT, "".join(f"{line}\n" for line in lines if line != LINE))
    return f"debug mode {'on' if on else 'off'} for the GUI agent's next start"
