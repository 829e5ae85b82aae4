"""``qubes.SuspendPre``, ``qubes.SuspendPost`` and their ``...All``: tell VMs that the machine goes to sleep or wakes.

Source: Qubes core-admin (``qubes/api/internal.py``): all VMs first hear ``SuspendPreAll``, then those with devices
``SuspendPre``; after the sleep those with devices hear ``SuspendPost``, then all of them ``SuspendPostAll``. A VM
that fails holds up nobody: the machine must be able to sleep.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vminterface.channel.qrexec import Call, Qrexec
from vminterface.dom0.services.answer import NOISE
from vminterface.errors import ServiceNotFound, VMInterfaceError
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
    qrexec: Qrexec, vms: Iterable[str], with_devices: Iterable[str], *, timeout: float = TIMEOUT
) -> list[Failure]:
    """Prepare running *vms* for sleep, and those *with_devices* for losing them. Returns what failed.

    Raises InvalidValue for what is no VM's name, before anything runs.
    """
    vms, with_devices = _checked(vms), _checked(with_devices)
    return [*_tell(qrexec, vms, PRE_ALL, timeout), *_tell(qrexec, with_devices, PRE, timeout)]


def after(
    qrexec: Qrexec, vms: Iterable[str], with_devices: Iterable[str], *, timeout: float = TIMEOUT
) -> list[Failure]:
    """Tell running *vms* that the machine is awake, first those *with_devices*. Returns and raises as before()."""
    vms, with_devices = _checked(vms), _checked(with_devices)
    return [*_tell(qrexec, with_devices, POST, timeout), *_tell(qrexec, vms, POST_ALL, timeout)]


def _checked(vms: Iterable[str]) -> list[str]:
    return [rpcname.parse_target(vm) for vm in vms]


def _tell(qrexec: Qrexec, vms: list[str], service: str, timeout: float) -> list[Failure]:
    calls = [Call(vm, service, user="root", stdout_limit=NOISE, timeout=timeout) for vm in vms]
    return [
        Failure(vm, service, outcome)
        for vm, outcome in zip(vms, qrexec.call_many(calls), strict=True)
        if isinstance(outcome, VMInterfaceError)
        # Releases before R3.2 have no services for all VMs, and nothing to prepare there.
        if not (isinstance(outcome, ServiceNotFound) and service in (PRE_ALL, POST_ALL))
    ]
