"""Times as Qubes services carry them: ``date -u -Iseconds`` and ``-Ins`` texts, always UTC.

Sources: Qubes core-agent-linux ``qubes.SetDateTime`` and ``qubes-sync-clock``, core-admin ``qvm-sync-clock``. The
handler hands whatever it gets to ``date``, for which an empty text means last midnight; here everything but the
written form is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from vminterface.errors import InvalidValue, printable

#: Times that are not later are refused, as Qubes does: no machine's clock is right with such a one.
EARLIEST = datetime(2022, 7, 10, 17, 8, 31, tzinfo=UTC)

_FORM = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\+00:?00\n?\Z", re.ASCII)
_ANSWER = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:,([0-9]{9}))?\+00:00\n\Z")


def parse(text: str) -> datetime:
    """Read ``YYYY-MM-DDTHH:MM:SS+0000`` or ``...+00:00``, with or without a line's end. Raises InvalidValue."""
    if not (shown := _FORM.match(text)):
        raise InvalidValue(f"'{printable(text, 60)}' is no time (expected YYYY-MM-DDTHH:MM:SS+00:00)")
    return _checked(shown[1], 0)


def render(moment: datetime, *, colon: bool = True) -> str:
    """Return *moment* as the line that ``qubes.SetDateTime`` reads; *colon*: in the offset, as newer tools write."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}{'+00:00' if colon else '+0000'}\n"


def parse_answer(untrusted_answer: bytes) -> datetime:
    """Read what ``qubes.GetDate`` answers: exactly 26 bytes, or 36 with nanoseconds (of which microseconds are kept).

    Raises InvalidValue.
    """
    if not (shown := _ANSWER.match(untrusted_answer)):
        raise InvalidValue(
            f"'{printable(untrusted_answer, 60)}' is no time"
            " (expected YYYY-MM-DDTHH:MM:SS[,nnnnnnnnn]+00:00 and a line's end)"
        )
    return _checked(shown[1].decode("ascii"), int(shown[2] or b"0") // 1000)


def render_answer(moment: datetime, *, nanoseconds: bool = False) -> bytes:
    """Return *moment* as ``qubes.GetDate`` answers it."""
    moment = moment.astimezone(UTC)
    fraction = f",{moment.microsecond:06}000" if nanoseconds else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}+00:00\n".encode("ascii")


def _checked(digits: str, microsecond: int) -> datetime:
    try:
        moment = datetime.strptime(digits, "%Y-%m-%dT%H:%M:%S").replace(microsecond=microsecond, tzinfo=UTC)
    except ValueError:
        raise InvalidValue(f"'{digits}' is not in the calendar") from None
    if moment <= EARLIEST:
        raise InvalidValue(f"'{digits}' is too early (expected later than {EARLIEST:%Y-%m-%dT%H:%M:%S})")
    return moment
