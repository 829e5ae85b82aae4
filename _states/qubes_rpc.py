"""
What VMs shall have that no key tells them, but a Qubes RPC call: monitors, clock, files, handlers, a finished command.

Each state looks at the VM first, by a call that changes nothing, and again afterwards; test mode does the first alone.
A VM that is not running is a failure, as nothing waits for its next start; ``all_monitors`` passes over such VMs.

.. code-block:: yaml

    vminterface-monitors:
      qubes_rpc.all_monitors

    /srv/notes:
      qubes_rpc.file_sent:
        - vm: work

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

try:
    from vminterface.dom0.states import rpc as _rpc
    from vminterface.dom0.states import watched as _watched

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "qubes_rpc"


def __virtual__():
    if MISSING:
        return False, f"qubes_rpc: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def all_monitors(name):
    """
    Tell every running VM that has ``monitors`` in the pillar its layout, if its X server shows another one.

    Each VM is a line of its own in the run's report. Without ``monitors`` in the pillar there is nothing to do, also
    where there is no qrexec.

    name
        Any text; requisites refer to it.

    .. code-block:: yaml

        vminterface-monitors:
          qubes_rpc.all_monitors: []
    """
    source = f"the pillar of minion {__opts__['id']}"
    state_id = __low__.get("__id__", name)
    return _rpc.all_monitors(name, __pillar__, source=source, state_id=state_id, test=__opts__["test"])


def monitor_layout(name, monitors="from_dom0"):
    """
    Give a VM its monitors (``qubes.SetMonitorLayout``).

    What it has is read from its X server (``xrandr --prop``, run there by ``qubes.VMExec``), as that alone shows what
    has become of a layout. Compared are sizes and places in pixels, where a width that ``cvt`` makes of the one
    asked for counts as it, and millimetres, where the server or the VM's handler knows them.

    name
        Name of the VM.
    monitors
        ``from_dom0``, ``{from_dom0: true, dpi: 144}``, or a list of mappings with ``width``, ``height``, ``x``, ``y``,
        and ``width_mm`` and ``height_mm`` or ``dpi``. The first one is the primary monitor.

    .. code-block:: yaml

        work:
          qubes_rpc.monitor_layout:
            - monitors:
              - {width: 1920, height: 1080, x: 0, y: 0}
    """
    return _rpc.monitor_layout(name, monitors, test=__opts__["test"])


def clock_set(name):
    """
    Bring a VM's clock to dom0's, if it is off by more than 2 s (``qubes.GetDate``, ``qubes.SetDateTime``).

    name
        Name of the VM.

    .. code-block:: yaml

        work:
          qubes_rpc.clock_set: []
    """
    return _rpc.clock_set(name, test=__opts__["test"])


def gui_mode(name, mode):
    """
    Show a VM's desktop in one window, or its windows alone (``qubes.SetGuiMode``).

    What it has is what its handler remembers; a VM that cannot be asked for that is told, and reported, each time.

    name
        Name of the VM.
    mode
        ``FULLSCREEN`` or ``SEAMLESS``.

    .. code-block:: yaml

        windows:
          qubes_rpc.gui_mode:
            - mode: SEAMLESS
    """
    return _rpc.gui_mode(name, mode, test=__opts__["test"])


def file_sent(name, vm, replace=False, allow_all_names=False):
    """
    Let ``QubesIncoming/dom0`` of a VM's user have a file or folder of dom0 (``qubes.Filecopy``).

    Checksums, folders and links are compared first, and nothing is sent where they are the same. Permissions and times
    go along and are not compared.

    name
        Absolute path in dom0.
    vm
        Name of the VM.
    replace
        Put it in the place of what is there under that name with another content, which is else an error. The old one
        is removed when the new one has arrived whole.
    allow_all_names
        Ask the VM to take unusual characters in names, where there are any.

    .. code-block:: yaml

        /srv/notes:
          qubes_rpc.file_sent:
            - vm: work
            - replace: True
    """
    return _rpc.file_sent(name, vm, replace=replace, allow_all_names=allow_all_names, test=__opts__["test"])


def command_run(name, vm, unless_in_vm=None, onlyif_in_vm=None, root=False, timeout=60):
    """
    Run a command in a VM's shell (``qubes.VMShell``); a status other than 0 is a failure.

    Without a guard it runs each time. Guards run in test mode too: they must change nothing. (Salt's own ``unless`` and
    ``onlyif`` look at dom0.)

    name
        The command.
    vm
        Name of the VM.
    unless_in_vm
        A command: if it ends with status 0 in the VM, there is nothing to do.
    onlyif_in_vm
        A command: if it ends with another status than 0 in the VM, there is nothing to do.
    root
        Run all of them as root.
    timeout
        Seconds that each has, at most a week (604800).

    .. code-block:: yaml

        mkdir -p ~/reports:
          qubes_rpc.command_run:
            - vm: work
            - unless_in_vm: test -d ~/reports
    """
    guards = {"unless": unless_in_vm, "onlyif": onlyif_in_vm}
    return _rpc.command_run(name, vm, root=root, timeout=timeout, test=__opts__["test"], **guards)


def handler_installed(name, vm, source, folder="/usr/local/etc/qubes-rpc"):
    """
    Let a VM answer a service by a program of dom0 (``qubes.VMRootExec`` puts it there).

    name
        Name of the service, or name, ``+`` and argument.
    vm
        Name of the VM.
    source
        Absolute path of the program in dom0.
    folder
        Where the VM's qrexec agent looks for it.

    .. code-block:: yaml

        example.Report:
          qubes_rpc.handler_installed:
            - vm: work
            - source: /srv/handlers/report
    """
    return _rpc.handler_installed(name, vm, source, folder, test=__opts__["test"])


def backup_made(name, vm, location):
    """
    Let a VM hold a copy of a backup of dom0 (``qubes.Backup``).

    If the location is a folder of the VM's and a backup with the same content is there, nothing is sent. Behind a
    command nobody can look: it is run each time.

    name
        Absolute path of the backup in dom0.
    vm
        Name of the VM.
    location
        A folder of the VM's, which chooses the file's name, or a shell command that reads the backup.

    .. code-block:: yaml

        /var/backup/dom0.tar:
          qubes_rpc.backup_made:
            - vm: vault
            - location: /home/user/backups
    """
    return _rpc.backup_made(name, vm, location, test=__opts__["test"])


def disk_resized(name, device="/dev/xvdb", size=None):
    """
    Let the ext file system on a VM's private volume have all of the volume (``qubes.ResizeDisk``).

    name
        Name of the VM.
    device
        What the private volume is in the VM.
    size
        What the volume itself shall have, in bytes or as in ``20GiB``: qubesd enlarges it first, also while the VM is
        halted. Qubes R4 alone; a volume is never made smaller. By default it stays as large as it is.

    .. code-block:: yaml

        work:
          qubes_rpc.disk_resized:
            - size: 20GiB
    """
    return _rpc.disk_resized(name, device, size, test=__opts__["test"])


def mod_watch(name, sfun=None, **kwargs):
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.
    """
    return _watched.once_more(globals()[sfun], name, kwargs)
