"""``qubes.SuspendPre``, ``qubes.SuspendPost`` and their ``...All``: notify VMs that the machine goes to sleep or wakes.

Source: Qubes core-admin (``qubes/api/internal.py``): all VMs first hear ``SuspendPreAll``, then those with devices
``SuspendPre``; after the sleep those with devices hear ``SuspendPost``, then all of them ``SuspendPostAll``. A VM
that fails holds up nobody: the machine must be able to sleep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.inventory import vmnames
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.inventory.targets import running_vms
from vminterface.dom0.services.reply import NOISE
from vminterface.errors import ServiceNotFound, VMInterfaceError, VMNotRunning
from vminterface.values import rpcname

PRE, PRE_ALL = "qubes.SuspendPre", "qubes.SuspendPreAll"
POST, POST_ALL = "qubes.SuspendPost", "qubes.SuspendPostAll"
#: Seconds that each VM has for each service.
TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A VM that did not answer a service as it should."""

    vm: str
    service: str
    error: VMInterfaceError


def before(
    qrexec: Qrexec, vms: Iterable[str] | None, with_devices: Iterable[str], *, timeout: float = TIMEOUT
) -> list[Failure]:
    """Prepare running *vms*, None: all, for sleep, and those *with_devices* for losing them. Returns what failed.

    Of all that run, those without qrexec, as stub domains are, have nothing that services prepare.
    Raises InvalidValue for an invalid VM name, before anything runs.
    """
    everybody, with_devices = _checked(vms), _checked(with_devices)
    failures = [*_notify(qrexec, everybody, PRE_ALL, timeout), *_notify(qrexec, with_devices, PRE, timeout)]
    return _explained(failures, vms, with_devices)


def after(
    qrexec: Qrexec, vms: Iterable[str] | None, with_devices: Iterable[str], *, timeout: float = TIMEOUT
) -> list[Failure]:
    """Notify running *vms* that the machine is awake, first those *with_devices*. Otherwise as :func:`before`."""
    everybody, with_devices = _checked(vms), _checked(with_devices)
    failures = [*_notify(qrexec, with_devices, POST, timeout), *_notify(qrexec, everybody, POST_ALL, timeout)]
    return _explained(failures, vms, with_devices)


def _checked(vms: Iterable[str] | None) -> list[str]:
    return [rpcname.parse_target(vm) for vm in (running_vms() if vms is None else vms)]


def _notify(qrexec: Qrexec, vms: list[str], service: str, timeout: float) -> list[Failure]:
    calls = [Call(vm, service, user="root", stdout_limit=NOISE, timeout=timeout) for vm in vms]
    return [
        Failure(vm, service, outcome)
        for vm, outcome in zip(vms, qrexec.call_many(calls), strict=True)
        if isinstance(outcome, VMInterfaceError)
        # Releases before R3.2 have no services for all VMs, and nothing to prepare there.
        if not (isinstance(outcome, ServiceNotFound) and service in (PRE_ALL, POST_ALL))
    ]


def _explained(failures: list[Failure], vms: Iterable[str] | None, with_devices: list[str]) -> list[Failure]:
    """Return *failures* of VMs that were named; one that qubesd does not know has that as its error."""
    qubesd = Qubesd()
    found = []
    for failure in failures:
        error = failure.error
        if isinstance(error, VMNotRunning):
            if vms is None and failure.vm not in with_devices:
                continue
            error = vmnames.unknown(failure.vm, failure.service, qubesd) or error
        found.append(Failure(failure.vm, failure.service, error))
    return found
