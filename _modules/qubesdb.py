"""
Read and write QubesDB keys from dom0 (Qubes R3 and later).

Each VM has a QubesDB of its own, which ``vm`` names; without it, the one of this machine is meant. A path may go
without its first slash. Values are shown as printable ASCII, every other byte as an escape such as ``\\x1b``, because
a VM may write any key.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.dom0 import barekeys as _barekeys

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "qubesdb"
__func_alias__ = {"list_": "list"}


def __virtual__():
    if MISSING:
        return False, f"qubesdb: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _keys(vm):
    """The store for one call; its errors become Salt's."""
    return _barekeys.opened("qubesdb", vm, SaltInvocationError, CommandExecutionError)


def read(path, vm=None):
    """
    Return the value of a key.

    path
        Path of the key.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.read /qubes-timezone vm=work
    """
    with _keys(vm) as keys:
        return keys.read(path)


def write(path, value, vm=None):
    """
    Set a key to a value, whatever it held. Returns True.

    path
        Path of the key.
    value
        Text or a whole number.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.write /qubes-timezone Europe/Warsaw vm=work
    """
    with _keys(vm) as keys:
        keys.write(path, value)
    return True


def list_(path, vm=None):
    """
    Return the names directly below a key, sorted.

    path
        Path of the key.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.list /qubes-service vm=work
    """
    with _keys(vm) as keys:
        return keys.list(path)


def tree(path, vm=None):
    """
    Return the values of a key and of all keys below it, by full path.

    path
        Path of the key.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.tree /qubes-service vm=work
    """
    with _keys(vm) as keys:
        return keys.tree(path)


def exists(path, vm=None):
    """
    Say whether there is such a key; it may be empty.

    path
        Path of the key.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.exists /qubes-service/cups vm=work
    """
    with _keys(vm) as keys:
        return keys.exists(path)


def remove(path, vm=None):
    """
    Remove a key and all keys below it. Returns whether there was one.

    path
        Path of the key.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.remove /qubes-service/cups vm=work
    """
    with _keys(vm) as keys:
        return keys.remove(path)


def wait(path, value=None, absent=False, timeout=10, vm=None):
    """
    Wait until a key has a value (without ``value``: until there is such a key), and return its value.

    path
        Path of the key.
    value
        Text or whole number to wait for.
    absent
        Wait until there is no such key instead.
    timeout
        Seconds to wait at most; then this is an error.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.wait /vminterface/agent vm=work timeout=30
    """
    with _keys(vm) as keys:
        return keys.wait(path, value, absent=absent, timeout=timeout)


def update(keys, vm=None):
    """
    Bring many keys to their values at once: one batch to compare, one to write what differs.

    Returns ``{path: {"old": …, "new": …}}`` of what differed; None stands for no such key.

    keys
        Mapping of paths to values; null removes a key and all keys below it.
    vm
        Name of a running VM.

    CLI Example:

    .. code-block:: bash

        salt-call qubesdb.update '{/qubes-timezone: Europe/Warsaw, /qubes-service/cups: null}' vm=work
    """
    with _keys(vm) as store:
        return store.update(keys)
