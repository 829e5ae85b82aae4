"""``qubes.OpenURL``: show an address of another VM's user in this VM's browser.

Input: one line, ``http://``, ``https://`` or ``ftp://`` first. No output. The call ends with the opener, which waits
for the browser where it starts one: a disposable lasts as long. The browser lives on where the caller goes. After
Qubes core-agent-linux's ``qubes.OpenURL``.
"""

from __future__ import annotations

from vminterface.values import webaddress
from vminterface.vm.handlers.desktop import run
from vminterface.vm.handlers.desktop.opener import WAITING, opener
from vminterface.vm.handlers.runtime import programs
from vminterface.vm.handlers.runtime.call import Call


def handle(call: Call) -> None:
    """Open it. Raises InvalidValue (an argument, no address), ProgramMissing, ServiceFailed."""
    call.refuse_argument()
    address = webaddress.parse(call.read_line(webaddress.LIMIT))
    environment = {**programs.environment(), **WAITING}
    run.run(call.machine, [*opener(call.machine), address], call.service, environment=environment)
