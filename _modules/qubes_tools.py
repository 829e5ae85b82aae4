"""
The programs that dom0 runs in VMs directly: updates for dom0, the time, the network, the private volume.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface import errors as _errors
    from vminterface.channel import qrexec as _qrexec
    from vminterface.dom0 import arguments as _arguments
    from vminterface.dom0 import returns as _returns
    from vminterface.dom0 import tools as _tools

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "qubes_tools"


def __virtual__():
    if MISSING:
        return False, f"qubes_tools: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _call(function, vm, *args, **kwargs):
    given = {name: value for name, value in kwargs.items() if value is not None}
    with _returns.raising(SaltInvocationError, CommandExecutionError):
        return function(_qrexec.Qrexec(), _arguments.text(vm, "vm"), *args, **given)


def check_dom0_updates(vm, clean=False, timeout=None):
    """
    Ask the VM that downloads for dom0 whether there are updates. Returns ``available`` and its ``text``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.check_dom0_updates sys-firewall
    """
    found = _call(_tools.check_dom0_updates, vm, clean=clean, timeout=timeout)
    return {"available": found.available, "text": found.text}


def download_dom0_updates(vm, packages=(), action=None, clean=False, timeout=None):
    """
    Have a VM download updates for dom0, or packages, and send them. Returns what it said.

    packages
        List of names.
    action
        ``install``, ``reinstall``, ``upgrade``, ``downgrade``, ``list`` or ``search``.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.download_dom0_updates sys-firewall '[tmux]'
    """
    if action is not None:
        try:
            action = _tools.Action(action)
        except ValueError:
            known = ", ".join(one.value for one in _tools.Action)
            raise SaltInvocationError(f"action: '{action}' is none (expected one of: {known})") from None
    return _call(_tools.download_dom0_updates, vm, packages, action=action, clean=clean, timeout=timeout)


def read_date(vm):
    """
    Return what ``date -u -Iseconds`` says in a VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.read_date sys-net
    """
    return _call(_tools.read_date, vm).isoformat()


def wait_for_network(vm, timeout=None):
    """
    Let ``nm-online -x`` wait in a VM, up to 30 s; return whether its network is up.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.wait_for_network sys-net
    """
    return _call(_tools.wait_for_network, vm, timeout=timeout)


def grow_private(vm, timeout=None, size=None):
    """
    Run ``resize2fs`` on a VM's private volume, for VMs without ``qubes.ResizeDisk``.

    size
        Bytes that dom0 has given the volume: the VM is awaited to see them, half a minute at most.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.grow_private work
        salt-call qubes_tools.grow_private work size=4294967296
    """
    _call(_tools.grow_private, vm, size=size, timeout=timeout)
    return True


def show_updates(vm, timeout=None):
    """
    Open the window in which a VM's user installs its updates, and wait until it is closed.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.show_updates fedora
    """
    _call(_tools.show_updates, vm, timeout=timeout)
    return True


def switch_update_check(vm, on=True):
    """
    Start or stop the timer that looks for updates in a VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubes_tools.switch_update_check work on=False
    """
    if not isinstance(on, bool):
        raise SaltInvocationError(f"on: expected True or False, found {_errors.printable(str(on), 40)}")
    _call(_tools.switch_update_check, vm, on)
    return True
