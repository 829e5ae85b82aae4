"""``qubes.GetDate``, ``qubes.GetDate+nanoseconds``: tell this VM's clock, where it is the one that sets all others.

No input. Output: one line as ``date -u -Iseconds`` writes it (26 bytes), with the argument as ``date -u -Ins`` does
(36 bytes). After Qubes core-agent-linux's ``qubes.GetDate``; the readers are core-admin's and core-agent's clock tools.
"""

from __future__ import annotations

from vminterface.errors import InvalidValue, printable
from vminterface.values import clock
from vminterface.vm.handlers.call import Call

NANOSECONDS = "nanoseconds"


def handle(call: Call) -> None:
    """Answer with the time. Raises InvalidValue for any argument but ``nanoseconds``."""
    if call.argument not in ("", NANOSECONDS):
        raise InvalidValue(f"'{printable(call.argument, 60)}' is no argument of it (expected {NANOSECONDS} or none)")
    call.write(clock.render_answer(call.machine.now(), nanoseconds=bool(call.argument)))
