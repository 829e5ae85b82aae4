"""The events of qubesd's Admin API as bytes: what ``admin.Events`` sends until one side hangs up.

Each event is ``1``, the VM's name (empty for the host itself), the event's name, then pairs of a key and a value, and
an empty key; a NUL after each of these. ``0`` or ``2`` in the first place is the reply to a call that gives no events.
Form: ``developer/services/admin-api`` of the Qubes documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vminterface.errors import OutputTooLarge, RemoteProtocolError, printable

#: Bytes of one event at most: a property's old and new value together are below twice what a request may have.
EVENT_LIMIT = 1 << 18
#: Keys of one event at most; those of today have up to four.
KEYS_MAX = 64


@dataclass(frozen=True, slots=True)
class AdminEvent:
    """Something that has happened; *values* are what qubesd sends about it, as text (``name``, ``newvalue``, …)."""

    #: The VM; empty for what concerns none.
    vm: str
    #: ``domain-start``, ``property-set:netvm``, …
    name: str
    values: Mapping[str, str]


class EventParser:
    """Takes bytes as they arrive, gives events when they are whole."""

    def __init__(self) -> None:
        self._data = bytearray()

    def receive_data(self, data: bytes) -> None:
        """Take what has arrived."""
        self._data += data

    def next_event(self) -> AdminEvent | None:
        """Return the next event, None where more has to arrive. Raises RemoteProtocolError, OutputTooLarge."""
        if self._data and self._data[:1] != b"1":
            raise RemoteProtocolError(f"qubesd did not send an event but '{printable(bytes(self._data[:60]))}'")
        fields: list[str] = []
        at = 0
        # The keys are at odd places from the fourth on; an empty one is the end.
        while len(fields) < 4 or len(fields) % 2 or fields[-1]:
            end = self._data.find(b"\0", at)
            if (end if end >= 0 else len(self._data)) > EVENT_LIMIT or len(fields) > 3 + 2 * KEYS_MAX:
                raise OutputTooLarge(f"an event of qubesd has more than {EVENT_LIMIT} bytes or {KEYS_MAX} keys")
            if end < 0:
                return None
            try:
                fields.append(self._data[at:end].decode("ascii"))
            except UnicodeDecodeError:
                raise RemoteProtocolError("an event of qubesd is not ASCII") from None
            at = end + 1
        del self._data[:at]
        if fields[0] != "1":
            raise RemoteProtocolError(f"qubesd did not send an event but '{printable(fields[0], 60)}'")
        pairs = fields[3:-1]
        return AdminEvent(fields[1], fields[2], dict(zip(pairs[::2], pairs[1::2], strict=True)))
