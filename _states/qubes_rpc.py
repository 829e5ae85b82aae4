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

import inspect

try:
    from vminterface import errors as _errors
    from vminterface.channel import qrexec as _qrexec
    from vminterface.dom0 import returns as _returns
    from vminterface.dom0 import settings as _settings
    from vminterface.dom0.steps import clocks as _clocks
    from vminterface.dom0.steps import display as _display
    from vminterface.dom0.steps import files as _files
    from vminterface.dom0.steps import programs as _programs
    from vminterface.dom0.steps import storage as _storage
    from vminterface.values import guimode as _guimode

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "qubes_rpc"


def __virtual__():
    if MISSING:
        return False, f"qubes_rpc: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _bring(name, step_of):
    """Look by *step_of*, which gets the way to services, and do what it finds to be done."""
    try:
        return _returns.state_of_step(name, step_of(_qrexec.Qrexec()), test=__opts__["test"])
    except _errors.VMInterfaceError as error:
        return _returns.failure(name, error)


def _checked(kind, **arguments):
    """Raise InvalidValue unless each of *arguments* is of *kind*."""
    for name, value in arguments.items():
        # bool is an int to Python.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = {str: "text", bool: "True or False"}.get(kind, "a number")
            raise _errors.InvalidValue(f"expected {wanted}, found {_errors.printable(repr(value), 40)}", name)


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
    test = __opts__["test"]
    try:
        # The push has parsed all of the pillar already; most have no monitors.
        wanted = _settings.parse_pillar(__pillar__) if _settings.mentions(__pillar__, "monitors") else []
        outcomes = _display.all_monitors(_qrexec.Qrexec(), wanted, test=test)
    except _errors.VMInterfaceError as error:
        return _returns.failure(name, error)
    state_id = __low__.get("__id__", name)
    return _returns.state_of_all(name, outcomes, test=test, state_id=state_id, function=("qubes_rpc", "monitor_layout"))


def monitor_layout(name, monitors="from_dom0"):
    """
    Give a VM its monitors (``qubes.SetMonitorLayout``).

    What it has is read from its X server (``xrandr -q``, run there by ``qubes.VMExec``), as that alone shows what has
    become of a layout. Compared are sizes and places in pixels; millimetres are told with them.

    name
        Name of the VM.
    monitors
        ``from_dom0``, or a list of mappings with ``width``, ``height``, ``x``, ``y``, ``width_mm``, ``height_mm``.

    .. code-block:: yaml

        work:
          qubes_rpc.monitor_layout:
            - monitors:
              - {width: 1920, height: 1080, x: 0, y: 0}
    """

    def step(qrexec):
        _checked(str, name=name)
        return _display.monitor_layout(qrexec, name, _display.wanted(monitors))

    return _bring(name, step)


def clock_set(name):
    """
    Bring a VM's clock to dom0's, if it is off by more than 2 s (``qubes.GetDate``, ``qubes.SetDateTime``).

    name
        Name of the VM.

    .. code-block:: yaml

        work:
          qubes_rpc.clock_set: []
    """

    def step(qrexec):
        _checked(str, name=name)
        return _clocks.clock_set(qrexec, name)

    return _bring(name, step)


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

    def step(qrexec):
        _checked(str, name=name, mode=mode)
        return _display.gui_mode(qrexec, name, _guimode.GuiMode.parse(mode))

    return _bring(name, step)


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
        Remove what is there under that name with another content, which is else an error.
    allow_all_names
        Ask the VM to take unusual characters in names, where there are any.

    .. code-block:: yaml

        /srv/notes:
          qubes_rpc.file_sent:
            - vm: work
            - replace: True
    """

    def step(qrexec):
        _checked(str, name=name, vm=vm)
        _checked(bool, replace=replace, allow_all_names=allow_all_names)
        return _files.file_sent(qrexec, vm, name, replace=replace, allow_all_names=allow_all_names)

    return _bring(name, step)


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
        Seconds that each has.

    .. code-block:: yaml

        mkdir -p ~/reports:
          qubes_rpc.command_run:
            - vm: work
            - unless_in_vm: test -d ~/reports
    """

    def step(qrexec):
        _checked(str, name=name, vm=vm)
        _checked((str, type(None)), unless_in_vm=unless_in_vm, onlyif_in_vm=onlyif_in_vm)
        _checked(bool, root=root)
        _checked((int, float), timeout=timeout)
        guards = {"unless": unless_in_vm, "onlyif": onlyif_in_vm}
        return _programs.command_run(qrexec, vm, name, root=root, timeout=timeout, **guards)

    return _bring(name, step)


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

    def step(qrexec):
        _checked(str, name=name, vm=vm, source=source, folder=folder)
        return _programs.handler_installed(qrexec, vm, name, _programs.read_handler(source), folder=folder)

    return _bring(name, step)


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

    def step(qrexec):
        _checked(str, name=name, vm=vm, location=location)
        return _storage.backup_made(qrexec, vm, name, location)

    return _bring(name, step)


def disk_resized(name, device="/dev/xvdb"):
    """
    Let the ext file system on a VM's private volume have all of the volume (``qubes.ResizeDisk``).

    name
        Name of the VM.
    device
        What the private volume is in the VM.

    .. code-block:: yaml

        work:
          qubes_rpc.disk_resized: []
    """

    def step(qrexec):
        _checked(str, name=name, device=device)
        return _storage.disk_resized(qrexec, name, device=device)

    return _bring(name, step)


def mod_watch(name, sfun=None, **kwargs):
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.
    """
    again = globals()[sfun]
    known = inspect.signature(again).parameters
    return again(name, **{k: v for k, v in kwargs.items() if k in known})
