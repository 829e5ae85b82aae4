"""``qubes.SetDateTime`` and ``qubes.GetDate``: a VM's clock, set and read.

Sources: Qubes core-agent-linux (both handlers), core-admin ``qvm-sync-clock`` (what of an answer is taken).
"""

from __future__ import annotations

from datetime import UTC, datetime

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.services.reply import NOISE, accepted
from vminterface.errors import InvalidValue
from vminterface.values import clock

SET = "qubes.SetDateTime"
GET = "qubes.GetDate"
#: The argument that asks for nanoseconds.
NANOSECONDS = "nanoseconds"
#: Seconds by which a VM's clock may be off before it counts as wrong: the handler leaves so small an error alone.
TOLERANCE = 2.0
#: The longest form of an answer has 36 bytes.
_REPLY_LIMIT = 64


def set_clock(qrexec: Qrexec, vm: str, moment: datetime | None = None, *, timeout: float = 20.0) -> datetime:
    """Set the clock of *vm* to *moment*, by default dom0's now, and return that.

    Raises InvalidValue for a time without zone, before 2022 or after 2099, else as :meth:`Qrexec.call`.
    """
    moment = datetime.now(UTC) if moment is None else moment
    if moment.tzinfo is None:
        raise InvalidValue(f"'{moment.isoformat()}' has no time zone (expected UTC)")
    line = clock.render(moment)
    clock.parse(line)
    qrexec.call(Call(vm, SET, user="root", stdin=line.encode("ascii"), stdout_limit=NOISE, timeout=timeout))
    return moment


def get_clock(qrexec: Qrexec, vm: str, *, timeout: float = 20.0) -> datetime:
    """Return the time of the clock of *vm*, with microseconds. Raises as :meth:`Qrexec.call`, RemoteProtocolError."""
    reply = qrexec.call(Call(vm, GET, NANOSECONDS, stdout_limit=_REPLY_LIMIT, timeout=timeout))
    return accepted(vm, GET, clock.parse_reply, reply)
