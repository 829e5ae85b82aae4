"""The tools that dom0 runs in VMs directly, each with a bound, a deadline and its result parsed.

Sources: Qubes dom0-updates (``qubes-dom0-update``), core-admin of R2 and R3 (``qvm-sync-clock``,
``qvm-grow-private``, ``qubesutils.py``), qubes-manager. They ran them as commands of a login shell; here each is an
argument list of ``qubes.VMExec``.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vminterface.channel.qrexec.client import Call, Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services import commands
from vminterface.errors import (
    InvalidValue,
    RemoteProtocolError,
    ServiceNotFound,
    printable,
    printable_lines,
    printable_value,
)
from vminterface.values import clock

DOWNLOAD = "/usr/lib/qubes/qubes-download-dom0-updates.sh"
TIMER = "qubes-update-check.timer"
PRIVATE_DEVICE = "/dev/xvdb"
INSTALL_GUI = "qubes.InstallUpdatesGUI"
VIEWER = "gpk-update-viewer"

#: Bytes of the line that ``date`` writes, as ``qvm-sync-clock`` takes it.
_DATE_LIMIT = 100
_TEXT_LIMIT = 1 << 20
#: Characters of a downloader's text that are kept, its last ones.
_SHOWN = 1 << 16
_UPDATES, _NO_UPDATES = 100, 0
#: Checks for the new size of a volume, and seconds between two of them: half a minute in all.
_PROBES, _PAUSE = 150, 0.2
# The kernel of the VM learns of the new size when the device is used.
_RESIZE = """left=$3
while have=$(blockdev --getsize64 "$1") || exit; [ "$have" -lt "$2" ]; do
if [ "$left" -le 0 ]; then echo "$1 has $have bytes, not yet $2" >&2; exit 1; fi
left=$((left - 1)); head -c 512 "$1" >/dev/null; sleep "$4"
done
exec resize2fs "$1"
"""


@dataclass(frozen=True, slots=True)
class Updates:
    """Whether there are updates for dom0, and the VM's list of them: printable ASCII in lines."""

    available: bool
    text: str


class Action(enum.Enum):
    """What the package manager in the VM is asked for; without packages, UPGRADE is its own default."""

    INSTALL = "install"
    REINSTALL = "reinstall"
    UPGRADE = "upgrade"
    DOWNGRADE = "downgrade"
    LIST = "list"
    SEARCH = "search"

    @classmethod
    def parse(cls, text: str) -> Action:
        """Read the name of an action. Raises InvalidValue."""
        if text not in {action.value for action in cls}:
            known = ", ".join(action.value for action in cls)
            raise InvalidValue(f"'{printable(text, 40)}' is not a valid action (expected one of: {known})", "action")
        return cls(text)


def check_dom0_updates(qrexec: Qrexec, vm: str, *, clean: bool = False, timeout: float = 600.0) -> Updates:
    """Ask *vm*, the one that downloads for dom0, whether there are updates: its status 100 means yes, 0 no.

    Raises ServiceFailed for every other status, else as :meth:`Qrexec.call`.
    """
    argv = [DOWNLOAD, "--doit", "--nogui", "--check-only", *(["--clean"] if clean else [])]
    output = commands.execute(qrexec, vm, argv, stdout_limit=_TEXT_LIMIT, timeout=timeout)
    if output.status != _UPDATES:
        output.checked()
    return Updates(output.status == _UPDATES, _lines(output.untrusted_stdout))


def download_dom0_updates(
    qrexec: Qrexec,
    vm: str,
    packages: Sequence[str] = (),
    *,
    action: Action | None = None,
    clean: bool = False,
    timeout: float = 7200.0,
) -> str:
    """Have *vm* download updates, or *packages*, and send them to dom0; return the end of its output, in lines.

    The VM sends them through a service of dom0's own, which checks their signatures. Raises InvalidValue,
    ServiceFailed, OutputTooLarge, else as :meth:`Qrexec.call`.
    """
    if isinstance(packages, str):
        raise InvalidValue("packages: is one text (expected a list of names)")
    for name in packages:
        if not name or name.startswith("-") or not name.isascii() or not name.isprintable() or " " in name:
            raise InvalidValue(f"'{printable(name, 60)}' is not a valid package name")
    argv = [DOWNLOAD, "--doit", "--nogui", *(["--clean"] if clean else [])]
    argv += [f"--action={action.value}"] if action is not None else []
    output = commands.execute(qrexec, vm, [*argv, *packages], stdout_limit=_TEXT_LIMIT, timeout=timeout).checked()
    return _lines(output.untrusted_stdout)


def read_date(qrexec: Qrexec, vm: str, *, timeout: float = 20.0) -> datetime:
    """Return the output of ``date -u -Iseconds`` in *vm*. Raises RemoteProtocolError, else as :meth:`Qrexec.call`."""
    argv = ["date", "-u", "-Iseconds"]
    output = commands.execute(qrexec, vm, argv, stdout_limit=_DATE_LIMIT, timeout=timeout).checked()
    try:
        return clock.parse(output.untrusted_stdout.decode("latin-1"))
    except InvalidValue as error:
        raise RemoteProtocolError(f"date in {vm}: {error}") from error


def wait_for_network(qrexec: Qrexec, vm: str, *, timeout: float = 60.0) -> bool:
    """Let ``nm-online -x`` wait in *vm*, up to 30 s, and return whether its network is up.

    Raises as :meth:`Qrexec.call`, ServiceFailed without NetworkManager.
    """
    output = commands.execute(qrexec, vm, ["nm-online", "-x"], stdout_limit=_TEXT_LIMIT, timeout=timeout)
    # 1: not online; 2: NetworkManager cannot be asked.
    if output.status not in (0, 1):
        output.checked()
    return output.status == 0


def grow_private(qrexec: Qrexec, vm: str, *, size: int | None = None, timeout: float = 600.0) -> None:
    """Grow the file system on the VM's private volume to the volume's size, for VMs without ``qubes.ResizeDisk``.

    *size* is what dom0 has just given the volume, in bytes: the VM's device is awaited to have it, for half a minute.
    None: as the VM sees it now. Raises InvalidValue, ServiceFailed, else as :meth:`Qrexec.call`.
    """
    argv = ["resize2fs", PRIVATE_DEVICE]
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 < size < 1 << 63:
            raise InvalidValue(f"'{printable_value(size, 40)}' is not a valid size of a volume (expected bytes)")
        argv = ["sh", "-c", _RESIZE, "sh", PRIVATE_DEVICE, str(size), str(_PROBES), str(_PAUSE)]
    output = commands.execute(qrexec, vm, argv, root=True, stdout_limit=_TEXT_LIMIT, timeout=timeout, name="resize2fs")
    output.checked()


def show_updates(qrexec: Qrexec, vm: str, *, timeout: float = 7200.0) -> None:
    """Open the window in which the user of *vm* installs its updates; returns when it is closed.

    It is ``qubes.InstallUpdatesGUI``, in older VMs ``gpk-update-viewer``. Raises as :meth:`Qrexec.call`.
    """
    deadline = Deadline.after(checked_timeout(timeout))
    try:
        qrexec.call(Call(vm, INSTALL_GUI, stdout_limit=_TEXT_LIMIT, deadline=deadline))
    except ServiceNotFound:
        commands.execute(qrexec, vm, [VIEWER], gui=True, stdout_limit=_TEXT_LIMIT, deadline=deadline).checked()


def switch_update_check(qrexec: Qrexec, vm: str, on: bool, *, timeout: float = 60.0) -> None:
    """Start or stop the timer that checks for updates in *vm*, until its next start. Raises as :func:`grow_private`."""
    argv = ["systemctl", "start" if on else "stop", TIMER]
    commands.execute(qrexec, vm, argv, root=True, stdout_limit=_TEXT_LIMIT, timeout=timeout).checked()


def _lines(untrusted_text: bytes) -> str:
    return printable_lines(untrusted_text[-_SHOWN:], 1000)
