"""
The programs that dom0 runs in VMs directly: updates for dom0, the time, the network, the private volume; templates; and
the greeting of a VM's GUI agent.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.dom0 import services as _services
    from vminterface.dom0.desired import arguments as _arguments
    from vminterface.dom0.desired.arguments import given as _given
    from vminterface.dom0.desired.arguments import text as _text
    from vminterface.dom0.results import raising as _raising

    _calling = partial(_raising.calling, invalid=SaltInvocationError, failed=CommandExecutionError)
    MISSING = ""
except ImportError as error:
    MISSING = str(error)

if TYPE_CHECKING:
    from vminterface.values.templaterequest import TemplateRequest

__virtualname__ = "qubes_tools"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return (
            False,
            f"qubes_tools: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface",
        )
    return __virtualname__


def check_dom0_updates(vm: str, clean: bool = False, timeout: float | None = None) -> dict[str, Any]:
    """
    Ask the VM that downloads for dom0 whether there are updates. Returns ``available`` and its ``text``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM that downloads updates for dom0.
    clean
        Empty the VM's cache of package lists first.
    timeout
        Seconds for the whole call, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.check_dom0_updates sys-firewall
    """
    with _calling(vm) as qrexec:
        found = _services.tools.check_dom0_updates(qrexec, vm, clean=clean, **_given(timeout=timeout))
    return {"available": found.available, "text": found.text}


def download_dom0_updates(
    vm: str, packages: Sequence[str] = (), action: str | None = None, clean: bool = False, timeout: float | None = None
) -> str:
    """
    Have a VM download updates for dom0, or packages, and send them. Returns the output.

    .. versionadded:: 0.1.0

    vm
        Name of the VM that downloads updates for dom0.
    packages
        List of names.
    action
        ``install``, ``reinstall``, ``upgrade``, ``downgrade``, ``list`` or ``search``.
    clean
        Empty the VM's cache of package lists first.
    timeout
        Seconds for the whole call, 7200 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.download_dom0_updates sys-firewall '[tmux]'
    """
    with _calling(vm) as qrexec:
        wanted = None if action is None else _services.tools.Action.parse(_text(action, "action"))
        given = _given(action=wanted, timeout=timeout)
        return _services.tools.download_dom0_updates(qrexec, vm, packages, clean=clean, **given)


def read_date(vm: str) -> str:
    """
    Return the output of ``date -u -Iseconds`` in a VM.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.read_date sys-net
    """
    with _calling(vm) as qrexec:
        return _services.tools.read_date(qrexec, vm).isoformat()


def wait_for_network(vm: str, timeout: float | None = None) -> bool:
    """
    Let ``nm-online -x`` wait in a VM, up to 30 s; return whether its network is up.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.wait_for_network sys-net
    """
    with _calling(vm) as qrexec:
        return _services.tools.wait_for_network(qrexec, vm, **_given(timeout=timeout))


def grow_private(vm: str, timeout: float | None = None, size: int | None = None) -> bool:
    """
    Run ``resize2fs`` on a VM's private volume, for VMs without ``qubes.ResizeDisk``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 600 unless given.
    size
        Bytes that dom0 has given the volume: the VM is awaited to see them, half a minute at most.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.grow_private work
        salt-call qubes_tools.grow_private work size=4294967296
    """
    with _calling(vm) as qrexec:
        _services.tools.grow_private(qrexec, vm, size=size, **_given(timeout=timeout))
    return True


def show_updates(vm: str, timeout: float | None = None) -> bool:
    """
    Open the window in which a VM's user installs its updates, and wait until it is closed.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds for the whole call, 7200 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.show_updates fedora
    """
    with _calling(vm) as qrexec:
        _services.tools.show_updates(qrexec, vm, **_given(timeout=timeout))
    return True


def gui_greet(
    vm: str, monitors: Any = None, screen: str | None = None, keyboard: str | None = None, socket: str | None = None,
    timeout: float = 10,
) -> dict[str, Any]:  # fmt: skip
    """
    Greet a VM's GUI agent as dom0's GUI daemon does when it connects: keyboard, protocol version, the whole screen.

    Returns the ``version`` that both speak, and ``width``, ``height`` (pixels) and ``depth`` (bits) of the screen.

    It is for agents that no GUI daemon is connected to (docs/gui.md); a state ``qubes_rpc.monitors`` sets later
    which monitors the screen has.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    monitors
        The screen holds all of these: ``from_dom0``, which is the default, or a list of mappings as in the pillar.
    screen
        ``WIDTHxHEIGHT`` of the whole screen, instead of monitors.
    keyboard
        Layout that is handed over first, under ``qubes-keyboard``; without it none is.
    socket
        Path of the stream socket on which the agent listens; by default the one that stands for its vchan.
    timeout
        Seconds for all of it.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.gui_greet work screen=1920x1080 keyboard=pl+dvorak
    """
    from vminterface.dom0.results import gui

    with _raising.raising(SaltInvocationError, CommandExecutionError):
        return gui.greet(vm, monitors, screen, keyboard, socket, timeout)


def switch_update_check(vm: str, on: bool = True) -> bool:
    """
    Start or stop the timer that checks for updates in a VM.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    on
        True starts the timer, False stops it.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.switch_update_check work on=False
    """
    with _calling(vm) as qrexec:
        _services.tools.switch_update_check(qrexec, vm, _arguments.flag(on, "on"))
    return True


def _template(
    spec: str, files: Sequence[str] | None, release: str | None, enable: Sequence[str] | None,
    disable: Sequence[str] | None, refresh: bool | None = None,
) -> TemplateRequest:  # fmt: skip
    return _services.templates.request(
        _services.templates.full_name(_text(spec, "spec")),
        **_given(_arguments.texts, files=files, enable=enable, disable=disable),
        **_given(_text, release=release),
        **_given(_arguments.flag, refresh=refresh),
    )


def template_search(
    vm: str, spec: str = "*", files: Sequence[str] | None = None, release: str | None = None,
    enable: Sequence[str] | None = None, disable: Sequence[str] | None = None, refresh: bool | None = None,
    timeout: float | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """
    Return the templates that dom0's repositories have, as a VM with network finds out (``qubes.TemplateSearch``).

    Each has ``name``, ``epoch``, ``version``, ``release``, ``repository``, ``size`` (bytes), ``built``, ``license``,
    ``url``, ``summary``, ``description``, and ``package``, which ``template_download`` takes.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    spec
        Name of a template or a pattern (``debian-*``).
    files
        List of files with repositories; without it, all of ``/etc/qubes/repo-templates``.
    release
        Release of Qubes, in quotes of its own on the command line; without it, dom0's.
    enable, disable
        Lists of repositories to use, or to leave out, besides.
    refresh
        Fetch the repositories' lists anew.
    timeout
        Seconds for the whole call, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.template_search sys-firewall 'debian-*'
    """
    with _calling(vm) as qrexec:
        desired = _template(spec, files, release, enable, disable, refresh)
        return [
            _services.templates.as_data(one)
            for one in _services.templates.search(qrexec, vm, desired, **_given(timeout=timeout))
        ]


def template_download(
    vm: str, spec: str, path: str, key: str, size: int | None = None, files: Sequence[str] | None = None,
    release: str | None = None, enable: Sequence[str] | None = None, disable: Sequence[str] | None = None,
    timeout: float | None = None,
) -> int:  # fmt: skip
    """
    Let a VM with network fetch the package of a template into a new file of dom0 (``qubes.TemplateDownload``).

    The file is there only if ``rpmkeys`` finds it signed with the key. Returns its bytes.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    spec
        Name of a template, or what ``template_search`` calls ``package``.
    path
        New file of dom0.
    key
        File of dom0 with the key that has to have signed it.
    size
        Bytes that it has to have; without it, at most 16 GiB.
    files, release, enable, disable
        As for ``template_search``.
    timeout
        Seconds for the whole call, 43200 (12 hours) unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.template_download sys-firewall debian-13 /var/tmp/debian-13.rpm \\
            /etc/qubes/repo-templates/keys/RPM-GPG-KEY-qubes-4.3-primary
    """
    with _calling(vm) as qrexec:
        desired = _template(spec, files, release, enable, disable)
        path, key = _text(path, "path"), _text(key, "key")
        given = {**_given(_arguments.count, size=size), **_given(timeout=timeout)}
        return _services.templates.download(qrexec, vm, desired, path, key, **given)
