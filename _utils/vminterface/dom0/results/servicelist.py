"""Services by their bare names: the list of those that have a function of their own, and calls of any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.desired import arguments
from vminterface.dom0.inventory import vmnames
from vminterface.dom0.services import commands
from vminterface.dom0.services.reply import Captured
from vminterface.errors import InvalidValue, ServiceFailed, printable, printable_lines, printable_value
from vminterface.values import rpcname

#: The function of the execution modules, and what the service does, by its name.
KNOWN: Mapping[str, tuple[str, str]] = {
    "qubes.SetMonitorLayout": ("qubes_rpc.set_monitors", "sets the VM's monitors"),
    "qubes.WaitForSession": ("qubes_rpc.wait_for_session", "returns when the user is logged in"),
    "qubes.WaitForRunningSystem": (
        "qubes_session.wait_for_running_system",
        "returns when the VM is up",
    ),
    "qubes.WaitForNetworkUplink": ("qubes_session.wait_for_network_uplink", "returns when the VM's network is up"),
    "qubes.GetAppmenus": ("qubes_rpc.get_appmenus", "lists the VM's applications"),
    "qubes.StartApp": ("qubes_session.start_app", "starts an application"),
    "qubes.OpenURL": ("qubes_session.open_url", "shows an address in the browser"),
    "qubes.ShowInTerminal": ("qubes_session.show_in_terminal", "shows text in a terminal"),
    "qubes.GetImageRGBA": ("qubes_rpc.get_image", "sends an icon or a picture as raw pixels"),
    "qubes.SetDateTime": ("qubes_rpc.set_date_time", "sets the VM's clock"),
    "qubes.GetDate": ("qubes_rpc.get_date", "returns the VM's clock"),
    "qubes.SetGuiMode": ("qubes_rpc.set_gui_mode", "shows the whole desktop or single windows"),
    "qubes.ResizeDisk": ("qubes_rpc.resize_disk", "lets the VM use all of a volume that has grown"),
    "qubes.Backup": ("qubes_rpc.backup", "takes a backup"),
    "qubes.Restore": ("qubes_rpc.restore", "sends a backup back"),
    "qubes.RegisterBackupLocation": ("qubes_rpc.with_backup_location", "gives a backup away by an id"),
    "qubes.RestoreById": ("qubes_rpc.restore_by_id", "sends back the backup that an id stands for"),
    "qubes.DetachPciDevice": ("qubes_rpc.detach_pci_device", "releases a PCI device"),
    "qubes.Filecopy": ("qubes_rpc.filecopy", "takes files and folders"),
    "qubes.OpenInVM": ("qubes_rpc.open_in_vm", "opens a file and sends it back if it was changed"),
    "qubes.SelectFile": ("qubes_rpc.select_file", "lets the user choose a file"),
    "qubes.SelectDirectory": ("qubes_rpc.select_directory", "lets the user choose a folder"),
    "qubes.SuspendPreAll": ("qubes_rpc.suspend_pre", "prepares any VM for the machine's sleep"),
    "qubes.SuspendPre": ("qubes_rpc.suspend_pre", "prepares a VM with devices for the machine's sleep"),
    "qubes.SuspendPost": ("qubes_rpc.suspend_post", "restarts a VM's devices after the machine's sleep"),
    "qubes.SuspendPostAll": ("qubes_rpc.suspend_post", "notifies any VM that the machine is awake"),
    "qubes.SyncNtpClock": ("qubes_rpc.sync_ntp_clock", "asks the network for the time"),
    "qubes.PostInstall": ("qubes_rpc.post_install", "reports the VM's features and applications to dom0"),
    "qubes.TemplateSearch": ("qubes_tools.template_search", "lists the available templates"),
    "qubes.TemplateDownload": ("qubes_tools.template_download", "sends a template's package"),
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
        raise InvalidValue(f"'{shown}' is not valid (expected a number of bytes, at most {LONGEST_OUTPUT})", "limit")
    data = stdin if isinstance(stdin, bytes) else str(stdin).encode("utf-8", "surrogateescape")
    captured = Captured()
    status, stderr = 0, ""
    try:
        with vmnames.explained(vm):
            reply = qrexec.call(Call(
                vm, name, given or str(argument), user=user, stdin=data, stdout_limit=limit, stdout_to=captured,
                timeout=timeout))  # fmt: skip
        stderr = reply.stderr
    except ServiceFailed as error:
        status, stderr = error.status, error.stderr
    return {"status": status, "stdout": printable_lines(captured.untrusted_data), "stderr": stderr}


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
