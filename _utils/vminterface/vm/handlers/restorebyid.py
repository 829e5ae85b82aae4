"""``qubes.RestoreById+ID``: ``qubes.Restore`` from a location that dom0 has registered under that id.

Input: the line with the members' names, and at the end the receiver's result. Output: a qfile stream. After Qubes
core-agent-linux's ``qubes.RestoreById`` (R4.1).
"""

from __future__ import annotations

from vminterface.vm.handlers.files import registered
from vminterface.vm.handlers.restore import restore
from vminterface.vm.handlers.runtime.call import Call


def handle(call: Call) -> None:
    """Send the members. Raises InvalidValue, VMInterfaceError for an unknown id; others: see ``restore``."""
    restore(call, registered.find(call.machine, call.argument))
