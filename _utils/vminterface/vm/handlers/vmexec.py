"""``qubes.VMExec``, ``qubes.VMExecGUI``, ``qubes.VMRootExec``: run one program with exactly the arguments given.

Argument: the encoded command line. Input, output, messages and exit status: the program's; 127 without such a
program, 126 if it cannot be started. After Qubes core-agent-linux's ``qubesagent/vmexec.py``.
"""

from __future__ import annotations

from vminterface.vm.handlers.runtime import programs
from vminterface.vm.handlers.runtime.call import Call
from vminterface.wire.vmexec import decode


def handle(call: Call) -> None:
    """Become the program. Raises InvalidValue for a bad encoding, ServiceNotFound, ServiceFailed."""
    programs.become(decode(call.argument))
