"""Services by their bare names: the list of those that have a function of their own, and calls of any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vminterface.channel.qrexec import Qrexec
from vminterface.dom0 import arguments
from vminterface.dom0.services import commands
from vminterface.dom0.services.answer import Kept
from vminterface.errors import InvalidValue, ServiceFailed, printable, printable_value
from vminterface.values import rpcname

#: The function of the execution modules, and what the service does, by its name.
KNOWN: Mapping[str, tuple[str, str]] = {
    "qubes.SetMonitorLayout": ("qubes_rpc.set_monitor_layout", "tells the VM which monitors there are"),
    "qubes.WaitForSession": ("qubes_rpc.wait_for_session", "answers when the user is logged in"),
    "qubes.GetAppmenus": ("qubes_rpc.get_appmenus", "lists the VM's applications"),
    "qubes.GetImageRGBA": ("qubes_rpc.get_image", "sends an icon or a picture as raw pixels"),
    "qubes.SetDateTime": ("qubes_rpc.set_date_time", "sets the VM's clock"),
    "qubes.GetDate": ("qubes_rpc.get_date", "tells the VM's clock"),
    "qubes.SetGuiMode": ("qubes_rpc.set_gui_mode", "shows the desktop as one window or its windows alone"),
    "qubes.ResizeDisk": ("qubes_rpc.resize_disk", "lets the VM use all of a volume that has grown"),
    "qubes.Backup": ("qubes_rpc.backup", "takes a backup"),
    "qubes.Restore": ("qubes_rpc.restore", "sends a backup back"),
    "qubes.DetachPciDevice": ("qubes_rpc.detach_pci_device", "lets go of a PCI device"),
    "qubes.Filecopy": ("qubes_rpc.filecopy", "takes files and folders"),
    "qubes.OpenInVM": ("qubes_rpc.open_in_vm", "opens a file and sends it back if it was changed"),
    "qubes.SelectFile": ("qubes_rpc.select_file", "lets the user choose a file"),
    "qubes.SelectDirectory": ("qubes_rpc.select_directory", "lets the user choose a folder"),
    "qubes.SuspendPreAll": ("qubes_rpc.suspend_pre", "prepares any VM for the machine's sleep"),
    "qubes.SuspendPre": ("qubes_rpc.suspend_pre", "prepares a VM with devices for the machine's sleep"),
    "qubes.SuspendPost": ("qubes_rpc.suspend_post", "takes a VM's devices into work after the machine's sleep"),
    "qubes.SuspendPostAll": ("qubes_rpc.suspend_post", "tells any VM that the machine is awake"),
    "qubes.SyncNtpClock": ("qubes_rpc.sync_ntp_clock", "asks the network for the time"),
    "qubes.VMShell": ("qubes_rpc.vm_shell", "runs a shell"),
    "qubes.VMRootShell": ("qubes_rpc.vm_shell", "runs a shell as root"),
    "qubes.VMExec": ("qubes_rpc.vm_exec", "runs a program"),
    "qubes.VMExecGUI": ("qubes_rpc.vm_exec", "runs a program in the user's session"),
    "qubes.VMRootExec": ("qubes_rpc.vm_exec", "runs a program as root"),
    "qubes.InstallUpdatesGUI": ("qubes_tools.show_updates", "lets the user install updates"),
}

#: Where a VM's qrexec agent looks for handlers (Qubes core-qrexec, ``qubes-rpc-config/README``).
#: Bytes of output that a caller may ask for: what becomes of them in lines stays within dom0's bound of memory.
LONGEST_OUTPUT = 1 << 23
_FOLDERS = ("/run/qubes-rpc", "/usr/local/etc/qubes-rpc", "/etc/qubes-rpc")
_LIST = 'for folder; do [ ! -d "$folder" ] || find -H "$folder" -maxdepth 1 ! -type d -printf "%f\\0" || exit 1; done'


def call(
    qrexec: Qrexec,
    vm: str,
    service: str,
    argument: str = "",
    *,
    user: str | None = None,
    stdin: str | bytes = b"",
    timeout: float = 60.0,
    limit: int = 1 << 20,
) -> dict[str, Any]:
    """Call *service*, its name or ``NAME+ARGUMENT``, and return ``status``, and ``stdout``, ``stderr`` for people.

    Raises InvalidValue, else as :meth:`Qrexec.call`; but a service that failed is an answer here.
    """
    arguments.text(vm, "vm")
    name, plus, given = str(service).partition("+")
    if plus and argument:
        raise InvalidValue(f"'{printable(str(service), 60)}' has an argument already", "argument")
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= LONGEST_OUTPUT:
        shown = printable_value(limit, 40)
        raise InvalidValue(f"expected a number of bytes, at most {LONGEST_OUTPUT}, found '{shown}'", "limit")
    data = stdin if isinstance(stdin, bytes) else str(stdin).encode("utf-8", "surrogateescape")
    kept = Kept()
    status, stderr = 0, ""
    try:
        answer = qrexec.call(
            vm, name, given or str(argument), user=user, stdin=data, stdout_limit=limit, stdout_to=kept, timeout=timeout
        )
        stderr = answer.stderr
    except ServiceFailed as error:
        status, stderr = error.status, error.stderr
    lines = kept.untrusted_data.splitlines()
    return {"status": status, "stdout": "\n".join(printable(line, 4096) for line in lines), "stderr": stderr}


def installed(qrexec: Qrexec, vm: str) -> list[str]:
    """Return the services, some with an argument, that *vm* has handlers for.

    Raises InvalidValue, else as :meth:`Qrexec.call`.
    """
    output = commands.execute(qrexec, arguments.text(vm, "vm"), ["sh", "-c", _LIST, "sh", *_FOLDERS]).checked()
    return sorted({name for untrusted in output.untrusted_stdout.split(b"\0") if (name := _name(untrusted))})


def _name(untrusted_name: bytes) -> str | None:
    """Return what can be called by that name, None for editors' leavings and the like."""
    name, _, argument = untrusted_name.decode("latin-1").partition("+")
    try:
        return rpcname.descriptor(name, argument)
    except InvalidValue:
        return None
