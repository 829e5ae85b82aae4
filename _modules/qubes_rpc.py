"""
A function for each Qubes RPC service that dom0 has in its VMs: arguments checked before the call, answers parsed.

``qubes_tools`` has the programs that dom0 runs in VMs, ``qrexec.call`` any other service. Every function raises one
sentence that names the VM and the service. ``vm`` is the name of a VM, ``timeout`` in seconds (a week at most) and for
the whole call.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.channel import qrexec as _qrexec
    from vminterface.dom0 import arguments as _arguments
    from vminterface.dom0 import returns as _returns
    from vminterface.dom0 import rpc as _rpc

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "qubes_rpc"


def __virtual__():
    if MISSING:
        return False, f"qubes_rpc: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _errors():
    return _returns.raising(SaltInvocationError, CommandExecutionError)


def _call(function, vm, *args, **kwargs):
    """Call the library's *function* about *vm*; what is None is left to its own defaults."""
    given = {name: value for name, value in kwargs.items() if value is not None}
    with _errors():
        return function(_qrexec.Qrexec(), _arguments.text(vm, "vm"), *args, **given)


def _ended(answer):
    if answer["status"]:
        __context__["retcode"] = 1
    return answer


def set_monitor_layout(vm, monitors="from_dom0", timeout=None):
    """
    Tell a VM its monitors (``qubes.SetMonitorLayout``). Returns them in one line.

    monitors
        ``from_dom0``, ``{from_dom0: true, dpi: 144}``, or a list of mappings: ``width``, ``height``, ``x``, ``y``,
        maybe ``width_mm`` and ``height_mm``, or ``dpi``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.set_monitor_layout work
        salt-call qubes_rpc.set_monitor_layout work '[{width: 1920, height: 1080, x: 0, y: 0}]'
    """
    return _call(_rpc.set_monitor_layout, vm, monitors, timeout=timeout)


def get_monitor_layout(vm=None):
    """
    Return the monitors that a VM's X server shows, or those of dom0, as the pillar has them.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_monitor_layout work
    """
    with _errors():
        return _rpc.get_monitor_layout(_qrexec.Qrexec(), None if vm is None else _arguments.text(vm, "vm"))


def wait_for_session(vm, user=None, timeout=None):
    """
    Wait until the user of a VM is logged in (``qubes.WaitForSession``); False: with some units that have failed.

    user
        Name of the VM's user, which VMs up to R4.0 need (``user``).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.wait_for_session work timeout=120
    """
    return _call(_rpc.session.wait, vm, user=user, timeout=timeout)


def get_appmenus(vm, timeout=None):
    """
    Return the applications of a VM (``qubes.GetAppmenus``): ``entries`` by their id, ``dropped`` values, ``warnings``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_appmenus work
    """
    return _call(_rpc.get_appmenus, vm, timeout=timeout)


def get_image(vm, name, path, picture=False, timeout=None):
    """
    Save an icon or picture of a VM as a PNG file (``qubes.GetImageRGBA``). Returns its ``width`` and ``height``.

    name
        Name of an icon, or path of a file in the VM.
    path
        File in dom0.
    picture
        Whether it may be larger than an icon (2048 by 2048).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_image work firefox /tmp/firefox.png
    """
    return _call(_rpc.get_image, vm, name, path, picture=picture, timeout=timeout)


def set_date_time(vm, time=None, timeout=None):
    """
    Set a VM's clock (``qubes.SetDateTime``). Returns the time that it was told.

    time
        ``2026-01-31T12:00:00+00:00``; without it, dom0's now.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.set_date_time work
    """
    return _call(_rpc.set_date_time, vm, time, timeout=timeout)


def get_date(vm, timeout=None):
    """
    Return what a VM's clock says (``qubes.GetDate``).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_date sys-net
    """
    return _call(_rpc.get_date, vm, timeout=timeout)


def set_gui_mode(vm, mode, timeout=None):
    """
    Show a VM as ``FULLSCREEN``, one window with its desktop, or ``SEAMLESS`` (``qubes.SetGuiMode``).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.set_gui_mode windows SEAMLESS
    """
    return _call(_rpc.set_gui_mode, vm, mode, timeout=timeout)


def resize_disk(vm, volume="private", timeout=None):
    """
    Let a running VM use all of a volume that has grown, ``private`` or ``root`` (``qubes.ResizeDisk``).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.resize_disk work
    """
    return _call(_rpc.resize_disk, vm, volume, timeout=timeout)


def detach_pci_device(vm, address, timeout=None):
    """
    Have a VM let go of a PCI device, by its address inside the VM (``qubes.DetachPciDevice``).

    On the command line the address needs quotes of its own, as YAML reads it as a number.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.detach_pci_device sys-net "'00:06.0'"
    """
    return _call(_rpc.detach_pci_device, vm, address, timeout=timeout)


def filecopy(vm, *paths, allow_all_names=False, skip_links=False, timeout=None):
    """
    Copy files and folders into ``QubesIncoming/dom0`` of a VM's user (``qubes.Filecopy``).

    Returns ``total_bytes``, and ``skipped``: pipes, sockets and devices.

    allow_all_names
        Ask the VM to take unusual characters in names, where there are any.
    skip_links
        Leave symbolic links out.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.filecopy work /etc/hosts /root/notes
    """
    return _call(_rpc.filecopy, vm, paths, allow_all_names=allow_all_names, skip_links=skip_links, timeout=timeout)


def open_in_vm(vm, path, view_only=False, timeout=None):
    """
    Open a file of dom0 in a VM and wait (``qubes.OpenInVM``). Returns whether an edited copy has replaced it.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.open_in_vm work /root/notes.txt
    """
    return _call(_rpc.open_in_vm, vm, path, view_only=view_only, timeout=timeout)


def select_file(vm, timeout=None):
    """
    Let the user choose a file of a VM (``qubes.SelectFile``). Returns its path, None if the dialogue was cancelled.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.select_file work
    """
    return _call(_rpc.dialogs.select_file, vm, timeout=timeout)


def select_directory(vm, timeout=None):
    """
    Let the user choose a folder of a VM (``qubes.SelectDirectory``). Returns as ``select_file``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.select_directory work
    """
    return _call(_rpc.dialogs.select_directory, vm, timeout=timeout)


def suspend_pre(vms=None, with_devices=()):
    """
    Prepare VMs for the machine's sleep, all of them and then those with devices (``qubes.SuspendPreAll``, ``...Pre``).

    Returns a sentence for each that failed; each has 60 s, and none holds up another.

    vms
        List of names; without it, all that run.
    with_devices
        List of the names of those that have PCI devices: they let go of them, and of their network.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.suspend_pre with_devices='[sys-net]'
        salt-call qubes_rpc.suspend_pre '[work, sys-net]' '[sys-net]'
    """
    with _errors():
        return _rpc.suspend_pre(_qrexec.Qrexec(), vms, with_devices)


def suspend_post(vms=None, with_devices=()):
    """
    Tell VMs that the machine is awake, first those with devices (``qubes.SuspendPost``, ``...PostAll``).

    Takes and returns what ``suspend_pre`` does.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.suspend_post with_devices='[sys-net]'
        salt-call qubes_rpc.suspend_post '[work, sys-net]' '[sys-net]'
    """
    with _errors():
        return _rpc.suspend_post(_qrexec.Qrexec(), vms, with_devices)


def sync_ntp_clock(vm, timeout=None):
    """
    Let a VM set its clock from the network (``qubes.SyncNtpClock``, up to R3).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.sync_ntp_clock sys-net
    """
    return _call(_rpc.sync_ntp_clock, vm, timeout=timeout)


def vm_shell(vm, script, root=False, wait_for_session=False, stdin="", timeout=None):
    """
    Run text in a VM's shell (``qubes.VMShell``, ``qubes.VMRootShell``). Returns ``status``, ``stdout``, ``stderr``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.vm_shell work 'ls -a ~ | wc -l'
    """
    more = {"root": root, "wait_for_session": wait_for_session, "stdin": stdin, "timeout": timeout}
    return _ended(_call(_rpc.vm_shell, vm, script, **more))


def vm_exec(vm, *argv, root=False, gui=False, stdin="", timeout=None):
    """
    Run one program in a VM with exactly these arguments (``qubes.VMExec``, ``...GUI``, ``qubes.VMRootExec``).

    A VM without these services (before R4.1) runs it by its shell (``qubes.VMShell``), each argument quoted.
    Returns ``status``, ``stdout`` and ``stderr`` as printable ASCII.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.vm_exec work ls -- -a /home/user
    """
    return _ended(_call(_rpc.vm_exec, vm, argv, root=root, gui=gui, stdin=stdin, timeout=timeout))


def backup(vm, location, archive, timeout=None):
    """
    Have a VM keep the file ``archive`` of dom0 at ``location``: a folder, a file or a command (``qubes.Backup``).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.backup work /home/user/backups /root/dom0.tar
    """
    return _call(_rpc.backup, vm, location, archive, timeout=timeout)


def restore(vm, location, path, members=(), single=False, total_bytes=None, entries=None, timeout=None):
    """
    Unpack an archive that a VM has into the new folder ``path`` of dom0 (``qubes.Restore``), all of it or nothing.

    Returns ``files`` and ``total_bytes``.

    members
        List of names, or beginnings of names, that are wanted of the archive.
    single
        ``path`` will be the one file that comes.
    total_bytes, entries
        What is taken at most. Nothing is taken that would leave less than 500 MiB of dom0's disk free.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.restore work /home/user/backups/qubes-backup-2026-01-31T120000 /root/back
    """
    limits = {"total_bytes": total_bytes, "entries": entries}
    return _call(_rpc.restore, vm, location, path, members, single=single, timeout=timeout, **limits)
