"""
States of VMs that a Qubes RPC call sets, not a key: monitors, clock, files, handlers, commands.

Each state probes the VM by a call that changes nothing, acts, and probes it again; test mode only does the first probe.
A VM that is not running is a failure, because nothing is stored for its next start; ``all_monitors`` omits such VMs.

.. code-block:: yaml

    vminterface-monitors:
      qubes_rpc.all_monitors

    /srv/notes:
      qubes_rpc.file_sent:
        - vm: work

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    from vminterface.dom0.desired import arguments as _arguments
    from vminterface.dom0.desired.arguments import given as _given
    from vminterface.dom0.desired.arguments import text as _text
    from vminterface.dom0.results.states import ensured as _ensured
    from vminterface.dom0.results.states import watched as _watched

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

if TYPE_CHECKING:
    from vminterface.channel.qrexec.client import Qrexec
    from vminterface.dom0.ensure.step import Step

__opts__: dict[str, Any]
__pillar__: dict[str, Any]

__virtualname__ = "qubes_rpc"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_rpc: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def _state(name: str, vm: str, probe: Callable[[Qrexec], Step]) -> dict[str, Any]:
    return _ensured.ensured(name, vm, probe, test=__opts__["test"])


def all_monitors(name: str) -> dict[str, Any]:
    """
    Push the ``monitors`` of every VM that has some in the pillar, as ``qubes_vm.all_configured`` does with
    ``only: [monitors]``; the other name is from the time when no push had them.

    Without ``monitors`` in the pillar there is nothing to do, also where there is no qrexec.

    .. versionadded:: 0.1.0

    name
        Any text; requisites refer to it.

    .. code-block:: yaml

        vminterface-monitors:
          qubes_rpc.all_monitors: []
    """
    from vminterface.dom0.results.states import vm

    source = f"the pillar of minion {__opts__['id']}"
    return vm.all_monitors(name, __pillar__, source=source, test=__opts__["test"])


def monitors(name: str, monitors: Any = "from_dom0") -> dict[str, Any]:
    """
    Give a VM its monitors (``qubes.SetMonitorLayout``).

    What it has is read from its X server (``xrandr --prop``, run there by ``qubes.VMExec``), as that alone shows what
    has become of a layout. Compared are sizes and places in pixels, where a width that ``cvt`` makes of the one
    asked for counts as it, and millimetres, where the server or the VM's handler knows them.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    monitors
        ``from_dom0``, ``{from_dom0: true, dpi: 144}``, or a list of mappings with ``width``, ``height``, ``x``, ``y``,
        and ``width_mm`` and ``height_mm`` or ``dpi``. The first one is the primary monitor.

    .. code-block:: yaml

        work:
          qubes_rpc.monitors:
            - monitors:
              - {width: 1920, height: 1080, x: 0, y: 0}
    """
    from vminterface.dom0.ensure import display

    return _state(name, name, lambda qrexec: display.monitor_layout(qrexec, name, display.desired(monitors)))


# Its former name, until 1.0.
monitor_layout = monitors


def clock_set(name: str) -> dict[str, Any]:
    """
    Bring a VM's clock to dom0's, if it is off by more than 2 s (``qubes.GetDate``, ``qubes.SetDateTime``).

    .. versionadded:: 0.1.0

    name
        Name of the VM.

    .. code-block:: yaml

        work:
          qubes_rpc.clock_set: []
    """
    from vminterface.dom0.results import clocks

    return _state(name, name, lambda qrexec: clocks.clock_set(qrexec, name))


def gui_mode(name: str, mode: str) -> dict[str, Any]:
    """
    Show a VM's desktop in one window, or only its windows (``qubes.SetGuiMode``).

    The present mode is the one that the VM's handler remembers. A VM without such a record is set, and reported, each
    time.

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    mode
        ``FULLSCREEN`` or ``SEAMLESS``.

    .. code-block:: yaml

        windows:
          qubes_rpc.gui_mode:
            - mode: SEAMLESS
    """
    from vminterface.dom0.ensure import display
    from vminterface.values.guimode import GuiMode

    def probe(qrexec: Qrexec) -> Step:
        return display.gui_mode(qrexec, name, GuiMode.parse(_text(mode, "mode")))

    return _state(name, name, probe)


def file_sent(
    name: str, vm: str, replace: bool = False, allow_all_names: bool = False, follow_links: bool = False
) -> dict[str, Any]:
    """
    Ensure that ``QubesIncoming/dom0`` of a VM's user has a file or folder of dom0 (``qubes.Filecopy``).

    Checksums, folders and links are compared first, and nothing is sent where they are the same. Permissions and times
    go along and are not compared.

    .. versionadded:: 0.1.0

    name
        Absolute path in dom0.
    vm
        Name of the VM.
    replace
        Replace a file of that name with different content, which is otherwise an error. The old one
        is removed when the new one has arrived completely.
    allow_all_names
        Ask the VM to accept unusual characters in names.
    follow_links
        Send and compare the target of symbolic links that point outside the folder, which is otherwise an error. Links
        inside the folder stay links.

    .. code-block:: yaml

        /srv/notes:
          qubes_rpc.file_sent:
            - vm: work
            - replace: True
            - follow_links: True
    """
    from vminterface.dom0.ensure import files

    def probe(qrexec: Qrexec) -> Step:
        more = {"replace": replace, "allow_all_names": allow_all_names, "follow_links": follow_links}
        return files.file_sent(qrexec, vm, name, **_given(_arguments.flag, **more))

    return _state(name, vm, probe)


def command_run(
    name: str, vm: str, unless_in_vm: str | None = None, onlyif_in_vm: str | None = None, root: bool = False,
    timeout: float = 60,
) -> dict[str, Any]:  # fmt: skip
    """
    Run a command in a VM's shell (``qubes.VMShell``); a status other than 0 is a failure.

    Without a guard it runs each time. Guards run in test mode too: they must change nothing. (Salt's own ``unless`` and
    ``onlyif`` run in dom0.)

    .. versionadded:: 0.1.0

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
    from vminterface.dom0.ensure import programs

    def probe(qrexec: Qrexec) -> Step:
        guards = _given(_text, unless_in_vm=unless_in_vm, onlyif_in_vm=onlyif_in_vm)
        guards = {guard.removesuffix("_in_vm"): command for guard, command in guards.items()}
        return programs.command_run(qrexec, vm, name, root=_arguments.flag(root, "root"), timeout=timeout, **guards)

    return _state(name, vm, probe)


def handler_installed(name: str, vm: str, source: str, folder: str = "/usr/local/etc/qubes-rpc") -> dict[str, Any]:
    """
    Install a program of dom0 as a service handler of a VM (``qubes.VMRootExec`` puts it there).

    .. versionadded:: 0.1.0

    name
        Name of the service, or name, ``+`` and argument.
    vm
        Name of the VM.
    source
        Absolute path of the program in dom0.
    folder
        Folder in which the VM's qrexec agent finds handlers.

    .. code-block:: yaml

        example.Report:
          qubes_rpc.handler_installed:
            - vm: work
            - source: /srv/handlers/report
    """
    from vminterface.dom0.ensure import programs

    def probe(qrexec: Qrexec) -> Step:
        content = programs.read_handler(_text(source, "source"))
        return programs.handler_installed(qrexec, vm, name, content, folder=_text(folder, "folder"))

    return _state(name, vm, probe)


def backup_made(name: str, vm: str, location: str) -> dict[str, Any]:
    """
    Ensure that a VM has a copy of a backup of dom0 (``qubes.Backup``).

    If the location is a folder of the VM's and a backup with the same content is there, nothing is sent. Behind a
    command nothing can be compared: it is run each time.

    .. versionadded:: 0.1.0

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
    from vminterface.dom0.ensure import storage

    return _state(name, vm, lambda qrexec: storage.backup_made(qrexec, vm, name, _text(location, "location")))


def disk_resized(name: str, device: str = "/dev/xvdb", size: int | str | None = None) -> dict[str, Any]:
    """
    Grow the ext file system on a VM's private volume to the whole volume (``qubes.ResizeDisk``).

    .. versionadded:: 0.1.0

    name
        Name of the VM.
    device
        Device of the private volume in the VM.
    size
        Size of the volume itself, in bytes or as in ``20GiB``: qubesd enlarges it first, also while the VM is
        halted. Only on Qubes R4; a volume is never made smaller. By default it stays as large as it is.

    .. code-block:: yaml

        work:
          qubes_rpc.disk_resized:
            - size: 20GiB
    """
    from vminterface.dom0.ensure import storage
    from vminterface.values.volume import parse_size

    def probe(qrexec: Qrexec) -> Step:
        given = {} if size is None else {"size": parse_size(size)}
        return storage.disk_resized(qrexec, name, device=_text(device, "device"), **given)

    return _state(name, name, probe)


def appmenus_synced(name: str) -> dict[str, Any]:
    """
    Update dom0's menu with the applications of a VM, as after an installation in a template (``qubes.GetAppmenus``).

    Compared are their names and other texts. On Qubes the menu is that of the desktop's user, and
    ``qvm-sync-appmenus`` writes it, icons and the menus of the VMs based on a template too; elsewhere it is desktop
    files in ``/usr/local/share/applications``.

    .. versionadded:: 0.1.0

    name
        Name of the VM, which has to run.

    .. code-block:: yaml

        debian-13:
          qubes_rpc.appmenus_synced: []
    """
    from vminterface.dom0.ensure import menu

    return _state(name, name, lambda qrexec: menu.appmenus_synced(qrexec, name))


def mod_watch(name: str, sfun: str = "", **kwargs: Any) -> dict[str, Any]:
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.

    .. versionadded:: 0.1.0

    name
        Name of the watched state.
    sfun
        Function of the watched state.
    kwargs
        Its other arguments.
    """
    return _watched.once_more(globals()[sfun], name, kwargs)
