"""
A function for each Qubes RPC service that dom0 has in its VMs: arguments checked before the call, replies parsed.

``qubes_tools`` has the programs that dom0 runs in VMs, ``qrexec.call`` any other service. Every function raises one
sentence that names VM and service. ``vm`` is a VM's name, ``timeout`` holds for the whole call (s, a week at most).

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.dom0 import services as _services
    from vminterface.dom0.desired import arguments as _arguments
    from vminterface.dom0.desired.arguments import given as _given
    from vminterface.dom0.desired.arguments import text as _text
    from vminterface.dom0.results import calls as _calls
    from vminterface.dom0.results import raising as _raising

    _calling = partial(_raising.calling, invalid=SaltInvocationError, failed=CommandExecutionError)
    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__context__: dict[str, Any]
__virtualname__ = "qubes_rpc"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_rpc: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def _ended(output: _services.commands.Output) -> dict[str, Any]:
    if output.status:
        __context__["retcode"] = 1
    return output.as_data()


def set_monitors(vm: str, monitors: Any = "from_dom0", timeout: float | None = None) -> str:
    """
    Set a VM's monitors (``qubes.SetMonitorLayout``). Returns them in one line.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    monitors
        ``from_dom0``, ``{from_dom0: true, dpi: 144}``, or a list of mappings: ``width``, ``height``, ``x``, ``y``,
        maybe ``width_mm`` and ``height_mm``, or ``dpi``.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.set_monitors work
        salt-call qubes_rpc.set_monitors work '[{width: 1920, height: 1080, x: 0, y: 0}]'
    """
    from vminterface.dom0.ensure import display

    with _calling(vm) as qrexec:
        layout = display.desired(monitors)
        _services.monitors.set_layout(qrexec, vm, layout, **_given(timeout=timeout))
    return _services.monitors.shown(layout)


def get_monitors(vm: str | None = None) -> list[dict[str, int]]:
    """
    Return the monitors that a VM's X server shows, or those of dom0, as the pillar has them.

    .. versionadded:: 0.1.0

    vm
        Name of the VM; without it, dom0.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_monitors work
    """
    with _calling("dom0" if vm is None else vm) as qrexec:
        layout = _services.monitors.of_dom0() if vm is None else _services.monitors.of_vm(qrexec, vm).layout
    return _services.monitors.as_mappings(layout)


set_monitor_layout, get_monitor_layout = set_monitors, get_monitors  # former names, until 1.0


def wait_for_session(vm: str, user: str | None = None, timeout: float | None = None) -> bool:
    """
    Wait until the user of a VM is logged in (``qubes.WaitForSession``); False: with some units that have failed.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    user
        Name of the VM's user, which VMs up to R4.0 need (``user``).
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.wait_for_session work timeout=120
    """
    with _calling(vm) as qrexec:
        return _services.session.wait(qrexec, vm, **_given(user=user, timeout=timeout))


def get_appmenus(vm: str, timeout: float | None = None) -> dict[str, Any]:
    """
    Return the applications of a VM (``qubes.GetAppmenus``): ``entries`` by their id, ``dropped`` values, ``warnings``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_appmenus work
    """
    with _calling(vm) as qrexec:
        return _services.appmenus.as_data(_services.appmenus.get(qrexec, vm, **_given(timeout=timeout)))


def get_image(vm: str, name: str, path: str, picture: bool = False, timeout: float | None = None) -> dict[str, int]:
    """
    Save an icon or picture of a VM as a PNG file (``qubes.GetImageRGBA``). Returns its ``width`` and ``height``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    name
        Name of an icon, or path of a file in the VM.
    path
        File in dom0.
    picture
        Whether it may be larger than an icon (2048 by 2048).
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_image work firefox /tmp/firefox.png
    """
    with _calling(vm) as qrexec:
        name, path = _text(name, "name"), _text(path, "path")
        fetch = _services.images.picture if picture else _services.images.icon
        image = fetch(qrexec, vm, name, **_given(timeout=timeout))
        _services.images.save(image, path)
    return {"width": image.width, "height": image.height}


def set_date_time(vm: str, time: str | None = None, timeout: float | None = None) -> str:
    """
    Set a VM's clock (``qubes.SetDateTime``). Returns the time that was set.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    time
        ``2026-01-31T12:00:00+00:00``; without it, dom0's now.
    timeout
        Seconds for the whole call, 20 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.set_date_time work
    """
    from vminterface.values.clock import parse

    with _calling(vm) as qrexec:
        moment = None if time is None else parse(_text(time, "time"))
        return _services.clock.set_clock(qrexec, vm, moment, **_given(timeout=timeout)).isoformat()


def get_date(vm: str, timeout: float | None = None) -> str:
    """
    Return the time of a VM's clock (``qubes.GetDate``).

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 20 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.get_date sys-net
    """
    with _calling(vm) as qrexec:
        return _services.clock.get_clock(qrexec, vm, **_given(timeout=timeout)).isoformat()


def set_gui_mode(vm: str, mode: str, timeout: float | None = None) -> str:
    """
    Show a VM as ``FULLSCREEN``, one window with its desktop, or ``SEAMLESS`` (``qubes.SetGuiMode``).

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    mode
        ``FULLSCREEN`` or ``SEAMLESS``.
    timeout
        Seconds for the whole call, 20 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.set_gui_mode windows SEAMLESS
    """
    with _calling(vm) as qrexec:
        desired = _services.gui.GuiMode.parse(_text(mode, "mode"))
        _services.gui.set_mode(qrexec, vm, desired, **_given(timeout=timeout))
    return desired.value


def resize_disk(vm: str, volume: str = "private", timeout: float | None = None) -> bool:
    """
    Let a running VM use all of a volume that has grown, ``private`` or ``root`` (``qubes.ResizeDisk``).

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    volume
        ``private`` or ``root``.
    timeout
        Seconds for the whole call, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.resize_disk work
    """
    with _calling(vm) as qrexec:
        wanted = _services.disk.Volume.parse(_text(volume, "volume"))
        _services.disk.resize(qrexec, vm, wanted, **_given(timeout=timeout))
    return True


def detach_pci_device(vm: str, address: str, timeout: float | None = None) -> bool:
    """
    Release a PCI device in a VM, by its address inside the VM (``qubes.DetachPciDevice``).

    On the command line the address needs quotes of its own, as YAML reads it as a number.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    address
        Address of the device inside the VM, such as ``00:06.0``.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.detach_pci_device sys-net "'00:06.0'"
    """
    with _calling(vm) as qrexec:
        wanted = _services.pci.PciAddress.parse(_text(address, "address"))
        _services.pci.detach(qrexec, vm, wanted, **_given(timeout=timeout))
    return True


def filecopy(
    vm: str, *paths: str, allow_all_names: bool = False, skip_links: bool = False, follow_links: bool = False,
    timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Copy files and folders into ``QubesIncoming/dom0`` of a VM's user (``qubes.Filecopy``).

    Returns ``total_bytes``, and ``skipped``: pipes, sockets and devices.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    paths
        Absolute paths of files and folders in dom0.
    allow_all_names
        Ask the VM to accept unusual characters in names.
    skip_links
        Leave symbolic links out.
    follow_links
        Send the target of symbolic links that point outside the folder, which is otherwise an error. Links inside the
        folder stay links.
    timeout
        Seconds for the whole call, 3600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.filecopy work /etc/hosts /root/notes
        salt-call qubes_rpc.filecopy work /root/notes follow_links=True
    """
    more = _given(allow_all_names=allow_all_names, skip_links=skip_links, follow_links=follow_links, timeout=timeout)
    with _calling(vm) as qrexec:
        return _services.files.send(qrexec, vm, _arguments.texts(paths, "paths"), **more).as_data()


def open_in_vm(vm: str, path: str, view_only: bool = False, timeout: float | None = None) -> bool:
    """
    Open a file of dom0 in a VM and wait (``qubes.OpenInVM``). Returns whether an edited copy has replaced it.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    path
        File in dom0.
    view_only
        Open a copy that is not sent back.
    timeout
        Seconds for the whole call, 3600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.open_in_vm work /root/notes.txt
    """
    with _calling(vm) as qrexec:
        path = _text(path, "path")
        return _services.files.open_in_vm(qrexec, vm, path, view_only=view_only, **_given(timeout=timeout))


def select_file(vm: str, timeout: float | None = None) -> str | None:
    """
    Let the user choose a file of a VM (``qubes.SelectFile``). Returns its path, None if the dialogue was cancelled.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.select_file work
    """
    with _calling(vm) as qrexec:
        return _services.dialogs.select_file(qrexec, vm, **_given(timeout=timeout))


def select_directory(vm: str, timeout: float | None = None) -> str | None:
    """
    Let the user choose a folder of a VM (``qubes.SelectDirectory``). Returns as ``select_file``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.select_directory work
    """
    with _calling(vm) as qrexec:
        return _services.dialogs.select_directory(qrexec, vm, **_given(timeout=timeout))


def suspend_pre(vms: Sequence[str] | None = None, with_devices: Sequence[str] = ()) -> list[str]:
    """
    Prepare VMs for the machine's sleep, all of them and then those with devices (``qubes.SuspendPreAll``, ``...Pre``).

    Returns a sentence for each that failed; each has 60 s, and none holds up another.

    .. versionadded:: 0.1.0

    vms
        List of names; without it, all that run.
    with_devices
        List of the names of those that have PCI devices: they release the devices and their network.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.suspend_pre with_devices='[sys-net]'
    """
    with _calling("dom0") as qrexec:
        return _calls.suspended(_services.suspend.before, qrexec, vms, with_devices)


def suspend_post(vms: Sequence[str] | None = None, with_devices: Sequence[str] = ()) -> list[str]:
    """
    Notify VMs that the machine is awake, first those with devices (``qubes.SuspendPost``, ``...PostAll``).

    Takes and returns what ``suspend_pre`` does.

    .. versionadded:: 0.1.0

    vms
        List of names; without it, all VMs that run.
    with_devices
        List of the names of VMs with PCI devices.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.suspend_post '[work, sys-net]' '[sys-net]'
    """
    with _calling("dom0") as qrexec:
        return _calls.suspended(_services.suspend.after, qrexec, vms, with_devices)


def sync_ntp_clock(vm: str, timeout: float | None = None) -> bool:
    """
    Let a VM set its clock from the network (``qubes.SyncNtpClock``, up to R3).

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.sync_ntp_clock sys-net
    """
    with _calling(vm) as qrexec:
        _services.timesync.sync_ntp_clock(qrexec, vm, **_given(timeout=timeout))
    return True


def post_install(vm: str, timeout: float | None = None) -> str:
    """
    Have a VM report its features and applications to dom0 (``qubes.PostInstall``).

    Call it after installing handlers or packages in the VM. Returns the output of the service.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.post_install debian-13
    """
    with _calling(vm) as qrexec:
        return _services.postinstall.post_install(qrexec, vm, **_given(timeout=timeout))


def vm_shell(
    vm: str, script: str, root: bool = False, wait_for_session: bool = False, stdin: str = "",
    timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Run text in a VM's shell (``qubes.VMShell``, ``qubes.VMRootShell``). Returns ``status``, ``stdout``, ``stderr``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    script
        Text for the shell.
    root
        Run it as root.
    wait_for_session
        Wait for the session of the VM's user first; not with ``root``.
    stdin
        Text to send to the script.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.vm_shell work 'ls -a ~ | wc -l'
    """
    with _calling(vm) as qrexec:
        more = {"root": root, "wait_for_session": wait_for_session, **_given(_arguments.data, stdin=stdin)}
        return _ended(_services.commands.shell(qrexec, vm, _text(script, "script"), **more, **_given(timeout=timeout)))


def vm_exec(
    vm: str, *argv: str, root: bool = False, gui: bool = False, stdin: str = "", timeout: float | None = None
) -> dict[str, Any]:
    """
    Run one program in a VM with exactly these arguments (``qubes.VMExec``, ``...GUI``, ``qubes.VMRootExec``).

    A VM without these services (before R4.1) runs it by its shell (``qubes.VMShell``), each argument quoted.
    Returns ``status``, ``stdout`` and ``stderr`` as printable ASCII.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    argv
        The program and its arguments.
    root
        Run it as root.
    gui
        Run it in the session of the VM's user.
    stdin
        Text to send to the program.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.vm_exec work ls -- -a /home/user
    """
    with _calling(vm) as qrexec:
        more = {"root": root, "gui": gui, **_given(_arguments.data, stdin=stdin), **_given(timeout=timeout)}
        return _ended(_services.commands.execute(qrexec, vm, _arguments.words(argv, "argv"), **more))


def backup(vm: str, location: str, archive: str, timeout: float | None = None) -> bool:
    """
    Have a VM keep the file ``archive`` of dom0 at ``location``: a folder, a file or a command (``qubes.Backup``).

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    location
        A folder, a file or a command of the VM.
    archive
        File in dom0.
    timeout
        Seconds for the whole call, 86400 (24 hours) unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.backup work /home/user/backups /root/dom0.tar
    """
    with _calling(vm) as qrexec:
        location, archive = _text(location, "location"), _text(archive, "archive")
        _services.backup.backup_file(qrexec, vm, location, archive, **_given(timeout=timeout))
    return True


def restore(
    vm: str, location: str, path: str, members: Sequence[str] = (), single: bool = False,
    total_bytes: int | None = None, entries: int | None = None, timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Unpack an archive that a VM has into the new folder ``path`` of dom0 (``qubes.Restore``), all of it or nothing.

    Returns ``files`` and ``total_bytes``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    location
        A file of the VM, or a command that writes the archive.
    path
        New folder in dom0, or with ``single`` a new file.
    members
        List of names, or beginnings of names, to extract from the archive.
    single
        ``path`` will be the one file that comes.
    total_bytes, entries
        What is taken at most. Nothing is taken that would leave less than 500 MiB of dom0's disk free.
    timeout
        Seconds for the whole call, 86400 (24 hours) unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.restore work /home/user/backups/qubes-backup-2026-01-31T120000 /root/back
    """
    with _calling(vm) as qrexec:
        location, path = _text(location, "location"), _text(path, "path")
        more = _calls.restoring(members, single, total_bytes, entries, timeout)
        return _services.backup.restore(qrexec, vm, location, path, **more).as_data()


def restore_by_id(
    vm: str, identifier: str, path: str, members: Sequence[str] = (), single: bool = False,
    total_bytes: int | None = None, entries: int | None = None, timeout: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """
    Unpack an archive of a VM, which knows its location by an id, into a new folder of dom0 (``qubes.RestoreById``).

    Else as ``restore``. An id holds as long as the call of ``qubes.RegisterBackupLocation`` that gave it.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    identifier
        The id, letters and digits.
    path
        A new folder of dom0.
    members, single, total_bytes, entries
        As for ``restore``.
    timeout
        Seconds for the whole call, 86400 (24 hours) unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.restore_by_id vault "'4f0c91d2'" /root/back
    """
    with _calling(vm) as qrexec:
        identifier, path = _text(identifier, "identifier"), _text(path, "path")
        more = _calls.restoring(members, single, total_bytes, entries, timeout)
        return _services.backup.restore_by_id(qrexec, vm, identifier, path, **more).as_data()


def with_backup_location(vm: str, location: str, *argv: str, timeout: float | None = None) -> dict[str, Any]:
    """
    Run a program of dom0 while a VM gives away a backup by an id (``qubes.RegisterBackupLocation``).

    The program finds the id in its environment, as ``BACKUP_LOCATION_ID``: a VM that the policy allows
    ``qubes.RestoreById+ID`` can read that backup alone until it has ended. Returns ``status``, ``stdout``, ``stderr``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    location
        A file of the VM, or a command that writes the backup.
    argv
        The program and its arguments.
    timeout
        Seconds that the program has (3600).

    CLI Example:

    .. code-block:: bash

        salt-call qubes_rpc.with_backup_location vault /home/user/weekly.tar /usr/local/bin/restore-in-a-disposable
    """
    with _calling(vm) as qrexec:
        location, words = _text(location, "location"), _arguments.texts(argv, "argv")
        return _ended(_services.backuplocation.lend_to_program(qrexec, vm, location, words, **_given(timeout=timeout)))
