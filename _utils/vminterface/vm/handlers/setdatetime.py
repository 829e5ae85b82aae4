"""``qubes.SetDateTime``: set the clock to dom0's time.

Input: one line, ``YYYY-MM-DDTHH:MM:SS+00:00`` or ``...+0000``, always UTC; the line's end may be missing. No output.
After Qubes core-agent-linux's ``qubes.SetDateTime``, which counts in decimal digits instead of seconds, takes an empty
line for last midnight, and everything else that ``date`` understands; here only the written form sets the clock.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue
from vminterface.values import clock
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine import systemclock

#: Seconds by which the clock may be off: setting it costs programs more than so small an error.
TOLERANCE = 2
_LIMIT = 64


def handle(call: Call) -> None:
    """Read the time and set the clock unless it is right. Raises InvalidValue, VMInterfaceError (not allowed to)."""
    call.refuse_argument()
    untrusted_text = call.read_all(_LIMIT).decode("latin-1")
    if not untrusted_text.strip():
        raise InvalidValue("no time is given (expected YYYY-MM-DDTHH:MM:SS+00:00)")
    desired = clock.parse(untrusted_text)
    if abs((systemclock.now(call.machine) - desired).total_seconds()) > TOLERANCE:
        systemclock.set_clock(call.machine, desired)
