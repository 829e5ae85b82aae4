"""Times as Qubes services carry them: ``date -u -Iseconds`` and ``-Ins`` texts, always UTC.

Sources: Qubes core-agent-linux ``qubes.SetDateTime`` and ``qubes-sync-clock``, core-admin ``qvm-sync-clock``. The
handler hands whatever it gets to ``date``, for which an empty text means last midnight; here everything but the
written form is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime

from vminterface.errors import InvalidValue, printable

#: Times that are not later are refused, as Qubes does: no machine's clock is right with such a one.
EARLIEST = datetime(2022, 7, 10, 17, 8, 31, tzinfo=UTC)
#: Times that are not earlier are refused as well: it can be reckoned with all others, as long as a VM may run.
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

_OFFSETS = ("+00:00", "+0000")
_SEPARATORS = {4: "-", 7: "-", 10: "T", 13: ":", 16: ":"}
_LENGTH = 19


def parse(text: str) -> datetime:
    """Read ``YYYY-MM-DDTHH:MM:SS+0000`` or ``...+00:00``, with or without a line's end. Raises InvalidValue."""
    line = text.removesuffix("\n")
    offset = next((offset for offset in _OFFSETS if line.endswith(offset)), None)
    if offset is None or not _has_form(digits := line.removesuffix(offset)):
        raise InvalidValue(f"'{printable(text, 60)}' is not a valid time (expected YYYY-MM-DDTHH:MM:SS+00:00)")
    return _checked(digits, 0)


def render(moment: datetime, *, colon: bool = True) -> str:
    """Return *moment* as the line that ``qubes.SetDateTime`` reads; *colon*: in the offset, as newer tools write."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}{'+00:00' if colon else '+0000'}\n"


def parse_reply(untrusted_reply: bytes) -> datetime:
    """Read what ``qubes.GetDate`` answers: exactly 26 bytes, or 36 with nanoseconds (of which microseconds are kept).

    Raises InvalidValue.
    """
    end = f"{_OFFSETS[0]}\n"
    text = untrusted_reply[: _LENGTH + 20].decode("latin-1")
    digits, comma, fraction = text.removesuffix(end).partition(",")
    if not (text.endswith(end) and _has_form(digits) and (not comma or (len(fraction) == 9 and _is_number(fraction)))):
        raise InvalidValue(
            f"'{printable(untrusted_reply, 60)}' is not a valid time"
            " (expected YYYY-MM-DDTHH:MM:SS[,nnnnnnnnn]+00:00 and a line's end)"
        )
    return _checked(digits, int(fraction or "0") // 1000)


def render_reply(moment: datetime, *, nanoseconds: bool = False) -> bytes:
    """Return *moment* as ``qubes.GetDate`` answers it."""
    moment = moment.astimezone(UTC)
    fraction = f",{moment.microsecond:06}000" if nanoseconds else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}+00:00\n".encode("ascii")


# Neither re nor strptime: a program that is started to set the clock would spend more time on importing them than on
# everything else.
def _has_form(text: str) -> bool:
    """Whether *text* is written as ``YYYY-MM-DDTHH:MM:SS``; its numbers may be out of range."""
    return len(text) == _LENGTH and all(
        character == _SEPARATORS[place] if place in _SEPARATORS else _is_number(character)
        for place, character in enumerate(text)
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _checked(text: str, microsecond: int) -> datetime:
    year, month, day, hour, minute, second = (int(text[start : start + 2]) for start in (2, 5, 8, 11, 14, 17))
    try:
        moment = datetime(100 * int(text[:2]) + year, month, day, hour, minute, second, microsecond, UTC)
    except ValueError:
        raise InvalidValue(f"'{text}' is not in the calendar") from None
    if moment <= EARLIEST:
        raise InvalidValue(f"'{text}' is too early (expected later than {EARLIEST:%Y-%m-%dT%H:%M:%S})")
    if moment >= LATEST:
        raise InvalidValue(f"'{text}' is too late (expected earlier than {LATEST:%Y-%m-%dT%H:%M:%S})")
    return moment
