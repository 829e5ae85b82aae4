"""What the module ``qubes_rpc`` makes of the arguments of calls that have many, and of their replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vminterface.dom0.desired import arguments

if TYPE_CHECKING:
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.services.suspend import Failure


def suspended(
    notify: Callable[[Qrexec, list[str] | None, list[str]], list[Failure]], qrexec: Qrexec, vms: Any, with_devices: Any
) -> list[str]:
    """Notify *vms* (None: all that run) and those *with_devices*; return a sentence for each that failed."""
    names = None if vms is None else arguments.texts(vms, "vms")
    failures = notify(qrexec, names, arguments.texts(with_devices, "with_devices"))
    return [str(failure.error) for failure in failures]


def restoring(members: Sequence[str], single: bool, total_bytes: Any, entries: Any, timeout: Any) -> dict[str, Any]:
    """Return the options of a call that restores a backup. Raises InvalidValue."""
    from vminterface.dom0.transfer.unpack import Limits

    limits = Limits(**arguments.given(arguments.count, total_bytes=total_bytes, entries=entries))
    given = {**arguments.given(arguments.texts, members=members), **arguments.given(timeout=timeout)}
    return {"single": single, "limits": limits, **given}
