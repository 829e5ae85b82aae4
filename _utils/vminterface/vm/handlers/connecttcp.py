"""``qubes.ConnectTCP+PORT``: connect the caller to a TCP port of this VM.

Input and output: the connection's. Exit status 0 when the port's side has ended it. dom0's policy denies the service
unless an admin allows it. After Qubes core-agent-linux's ``qubes.ConnectTCP``, which leads to 127.0.0.1 as well.
"""

from __future__ import annotations

from vminterface.values.port import parse_port
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.relay import relay


def handle(call: Call) -> None:
    """Connect. Raises InvalidValue for an invalid port, VMInterfaceError where nothing listens."""
    relay(call, parse_port(call.argument))
