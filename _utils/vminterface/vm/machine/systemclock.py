"""The clock of this machine; that of a machine below a root, or of VMs that share one kernel, is kept as an offset."""

from __future__ import annotations

from vminterface.errors import VMInterfaceError, printable
from vminterface.vm.machine.files import Files, Named

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from datetime import datetime

#: Where it exists, the machine's clock is the kernel's and so many microseconds: for VMs that share one kernel.
CLOCK_OFFSET = "/run/vminterface/clock-offset"


def now(files: Files) -> datetime:
    """Return the time of the machine's clock, UTC. Raises VMInterfaceError for an offset that is not a number."""
    from datetime import UTC, datetime, timedelta

    return datetime.now(UTC) + timedelta(microseconds=_offset(files) or 0)


def set_clock(files: Files, moment: datetime) -> None:
    """Set the machine's clock; that of a machine below a root is kept as an offset. Raises VMInterfaceError."""
    import time

    if _offset(files) is None and files.is_whole:
        with Named("the clock"):
            time.clock_settime_ns(time.CLOCK_REALTIME, round(moment.timestamp() * 1_000_000) * 1000)
    else:
        offset = round(moment.timestamp() * 1_000_000) - time.time_ns() // 1000
        files.write_file(CLOCK_OFFSET, f"{offset}\n")


def _offset(files: Files) -> int | None:
    text = files.read_text(CLOCK_OFFSET, limit=64)
    try:
        return None if text is None else int(text)
    except ValueError:
        raise VMInterfaceError(f"{CLOCK_OFFSET}: '{printable(text or '', 40)}' is not a number") from None
