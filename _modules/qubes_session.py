"""
What a VM's user is to see, started from dom0, and waits for a VM that has just been started.

``qubes_rpc`` has the other services. Every function raises one sentence that names the VM and the service. ``vm`` is
the name of a VM, ``timeout`` in seconds (a week at most) and for the whole call.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from functools import partial

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

__virtualname__ = "qubes_session"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return (
            False,
            f"qubes_session: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface",
        )
    return __virtualname__


def start_app(vm: str, app: str, wait: bool = False, timeout: float | None = None) -> bool:
    """
    Start an application of a VM, as dom0's menu does (``qubes.StartApp``). Returns whether it still runs.

    Without ``wait`` it returns once the application has not failed for 5 seconds, or has ended; ``qrexec-client`` goes
    on until the application ends.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    app
        Id of the application, as ``qubes_rpc.get_appmenus`` lists it.
    wait
        Wait until the application has ended.
    timeout
        Seconds to wait, 7200 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_session.start_app work firefox
        salt-call qubes_session.start_app work org.gnome.Nautilus wait=True timeout=600
    """
    with _calling(vm) as qrexec:
        given = {**_given(_arguments.flag, wait=wait), **_given(timeout=timeout)}
        return _services.apps.start(qrexec, vm, _text(app, "app"), **given)


def open_url(vm: str, url: str, wait: bool = False, timeout: float | None = None) -> bool:
    """
    Show a VM's user an address in the browser (``qubes.OpenURL``). Returns and waits as ``start_app``.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    url
        Address, with ``http://``, ``https://`` or ``ftp://`` first.
    wait
        Wait until the browser has ended.
    timeout
        Seconds to wait, 7200 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_session.open_url work https://www.example.org/
    """
    with _calling(vm) as qrexec:
        given = {**_given(_arguments.flag, wait=wait), **_given(timeout=timeout)}
        return _services.apps.open_url(qrexec, vm, _text(url, "url"), **given)


def show_in_terminal(vm: str, text: str, timeout: float | None = None) -> bool:
    """
    Show a VM's user a text in a terminal (``qubes.ShowInTerminal``); True: put away by a key, False: it was closed.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    text
        The text, in lines; escape sequences of a terminal are taken as such.
    timeout
        Seconds, 600 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_session.show_in_terminal work "The VM restarts at six."
    """
    with _calling(vm) as qrexec:
        return _services.terminals.show(qrexec, vm, _text(text, "text"), **_given(timeout=timeout))


def wait_for_running_system(vm: str, timeout: float | None = None) -> bool:
    """
    Wait until a VM has started all that it starts by itself (``qubes.WaitForRunningSystem``, R4.3); False: some failed.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.
    timeout
        Seconds, 60 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_session.wait_for_running_system work timeout=120
    """
    with _calling(vm) as qrexec:
        return _services.readiness.wait_for_system(qrexec, vm, **_given(timeout=timeout))


def wait_for_network_uplink(vm: str, timeout: float | None = None) -> bool:
    """
    Wait until a VM's network interface, if any, is in work (``qubes.WaitForNetworkUplink``, R4.3); False: it is not.

    .. versionadded:: 0.1.0

    vm
        Name of the VM, which gives up after some seconds itself.
    timeout
        Seconds, 10 unless given.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_session.wait_for_network_uplink work
    """
    with _calling(vm) as qrexec:
        return _services.readiness.wait_for_uplink(qrexec, vm, **_given(timeout=timeout))
