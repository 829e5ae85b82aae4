"""
Bare Qubes RPC calls into VMs, each with a deadline and bounds. ``qubes_rpc`` has a function for each known service.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.channel.qrexec import client as _qrexec
    from vminterface.dom0.results import raising as _raising
    from vminterface.dom0.results import servicelist as _servicelist

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__context__: dict[str, Any]

__virtualname__ = "qrexec"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qrexec: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def _errors() -> AbstractContextManager[None]:
    return _raising.raising(SaltInvocationError, CommandExecutionError)


def call(
    vm: str, service: str, argument: str = "", user: str | None = None, stdin: str = "", timeout: float = 60,
    limit: int = 1 << 20,
) -> dict[str, Any]:  # fmt: skip
    """
    Call a service in a VM. Returns ``status``, ``stdout`` and ``stderr``, as printable ASCII in lines.

    A status other than 0 is not an error, but the exit status of the command is then 1.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    service
        Name of the service (``qubes.GetDate``), or name, ``+`` and argument.
    argument
        Its argument, if it is not given with the name.
    user
        Who runs it in the VM; without it, the VM's default user.
    stdin
        Text to send.
    timeout
        Seconds for the whole call.
    limit
        Bytes of output that are taken, at most 8388608; more is an error.

    CLI Example:

    .. code-block:: bash

        salt-call qrexec.call work qubes.GetDate+nanoseconds
        salt-call qrexec.call work qubes.SetGuiMode stdin=SEAMLESS
    """
    with _errors():
        reply = _servicelist.call(
            _qrexec.Qrexec(), vm, service, argument, user=user, stdin=stdin, timeout=timeout, limit=limit
        )
    if reply["status"]:
        __context__["retcode"] = 1
    return reply


def services(vm: str | None = None) -> dict[str, Any] | list[str]:
    """
    Return the services that have a function of their own, by name: which one, and what the service does.

    .. versionadded:: 0.1.0

    vm
        Name of a VM: then the names of all services that this VM has a handler for.

    CLI Example:

    .. code-block:: bash

        salt-call qrexec.services
        salt-call qrexec.services work
    """
    if vm is None:
        return {name: {"function": f, "does": does} for name, (f, does) in _servicelist.KNOWN.items()}
    with _errors():
        return _servicelist.installed(_qrexec.Qrexec(), vm)
