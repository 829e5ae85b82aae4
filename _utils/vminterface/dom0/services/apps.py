"""``qubes.StartApp`` and ``qubes.OpenURL``: start an application of a VM, show its user an address.

Sources: Qubes core-agent-linux (both handlers), desktop-linux-common ``qubesappmenus/receive.py`` (how dom0's menu
calls the first). Both last as long as the user works with what they have started, and send nothing before. So a call
here waits for that end only if asked to: else it returns once what it started has not failed for a few seconds.
"""

from __future__ import annotations

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.values import appmenu, webaddress

START, OPEN = "qubes.StartApp", "qubes.OpenURL"
#: Seconds within which a failure counts as one of the start: the handlers' 3, and some for the way there.
SETTLED = 5.0
#: Seconds that a user may work with something while it is waited for.
TIMEOUT = 7200.0
#: Bytes of an application's output that are dropped before a call that waits for it is ended.
_OUTPUT_LIMIT = 1 << 26


def start(qrexec: Qrexec, vm: str, app: str, *, wait: bool = False, timeout: float = TIMEOUT) -> bool:
    """Start the application *app* of *vm*, an id of its menu entries; return whether it still runs.

    With *wait* the call is over when the application is, or after *timeout* seconds. Raises InvalidValue, else as
    :meth:`Qrexec.call`: also for an application that ends with a fault within SETTLED seconds.
    """
    return _run(qrexec, vm, START, appmenu.parse_id(app), b"", wait, timeout)


def open_url(qrexec: Qrexec, vm: str, address: str, *, wait: bool = False, timeout: float = TIMEOUT) -> bool:
    """Show the user of *vm* a web or FTP *address*; otherwise as :func:`start`."""
    return _run(qrexec, vm, OPEN, "", webaddress.render(address), wait, timeout)


def _run(qrexec: Qrexec, vm: str, service: str, argument: str, stdin: bytes, wait: bool, timeout: float) -> bool:
    if not wait:
        return qrexec.launch(Call(vm, service, argument, timeout=SETTLED), stdin=stdin)
    nowhere = _Nowhere()
    qrexec.call(
        Call(vm, service, argument, stdin=stdin, stdout_limit=_OUTPUT_LIMIT, stdout_to=nowhere, timeout=timeout)
    )
    return False


class _Nowhere:
    """Takes output that nobody needs."""

    def write(self, untrusted_data: bytes, /) -> None:
        """Drop it."""
