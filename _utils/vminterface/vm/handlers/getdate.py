"""``qubes.GetDate``, ``qubes.GetDate+nanoseconds``: return the time of this VM's clock, where it is the one that sets
all others.

No input. Output: one line as ``date -u -Iseconds`` writes it (26 bytes), with an argument, whatever it is, as
``date -u -Ins`` does (36 bytes). After Qubes core-agent-linux's ``qubes.GetDate``; the readers are core-admin's and
core-agent's clock tools.
"""

from __future__ import annotations

from vminterface.values import clock
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine import systemclock


def handle(call: Call) -> None:
    """Answer with the time."""
    call.write(clock.render_reply(systemclock.now(call.machine), nanoseconds=bool(call.argument)))
