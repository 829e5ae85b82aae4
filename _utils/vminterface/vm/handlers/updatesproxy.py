"""``qubes.UpdatesProxy``: connect the caller, as a rule a template, to the HTTP proxy for updates that runs in this VM.

Input and output: the connection's. After Qubes core-agent-linux's ``qubes.UpdatesProxy``, which leads to port 8082 of
127.0.0.1, where ``qubes-updates-proxy`` (tinyproxy) listens.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue
from vminterface.values.port import parse_port
from vminterface.vm.handlers.runtime import config
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.relay import relay

#: The port, unless the VM's configuration says otherwise.
PORT = "8082"


def handle(call: Call) -> None:
    """Connect. Raises InvalidValue (an argument, an option), VMInterfaceError where no proxy listens."""
    call.refuse_argument()
    text = config.option(call.machine, config.UPDATES_PROXY_PORT, PORT)
    try:
        port = parse_port(text)
    except InvalidValue as error:
        raise InvalidValue(f"{config.PATH}: {config.UPDATES_PROXY_PORT}: {error}") from None
    relay(call, port)
