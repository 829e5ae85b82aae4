"""
Read and write XenStore keys from dom0.

A path is absolute (``/vm``), or, with ``vm``, below that VM's own ``/local/domain/<domid>/``. Values are shown as
printable ASCII, every other byte as an escape such as ``\\x1b``, because a VM may have written them.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.dom0 import barekeys as _barekeys
    from vminterface.dom0 import returns as _returns
    from vminterface.dom0 import targets as _targets

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "xenstore"
__func_alias__ = {"list_": "list"}


def __virtual__():
    if MISSING:
        return False, f"xenstore: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def _keys(vm):
    """The store for one call; its errors become Salt's."""
    return _barekeys.opened("xenstore", vm, SaltInvocationError, CommandExecutionError)


def read(path, vm=None):
    """
    Return the value of a key.

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.read qubes-timezone vm=work
    """
    with _keys(vm) as keys:
        return keys.read(path)


def write(path, value, vm=None):
    """
    Set a key to a value, whatever it held; missing parents are made. Returns True.

    path
        Path of the key.
    value
        Text or a whole number.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.write qubes-timezone Europe/Warsaw vm=work
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
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.list /local/domain
    """
    with _keys(vm) as keys:
        return keys.list(path)


def tree(path, vm=None):
    """
    Return the values of a key and of all keys below it, by full path.

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.tree qubes-service vm=work
    """
    with _keys(vm) as keys:
        return keys.tree(path)


def exists(path, vm=None):
    """
    Say whether there is such a key; it may be empty.

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.exists qubes-service/cups vm=work
    """
    with _keys(vm) as keys:
        return keys.exists(path)


def remove(path, vm=None):
    """
    Remove a key and all keys below it. Returns whether there was one.

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.remove qubes-service/cups vm=work
    """
    with _keys(vm) as keys:
        return keys.remove(path)


def perms(path, vm=None):
    """
    Return the permissions of a key in XenStore's own notation, the owner first: ``["n0", "r3"]``.

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.perms vminterface vm=work
    """
    with _keys(vm) as keys:
        return keys.permissions(path)


def set_perms(path, perms, vm=None):
    """
    Replace the permissions of a key. Returns True.

    path
        Path of the key.
    perms
        List of permissions, or one text with commas: the owner first (``n0``: others may do nothing), then one
        for each other domain (``r3``, ``w3``, ``b3``: domain 3 may read, write, do both).
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.set_perms /tool/shared n0,r3
    """
    with _keys(vm) as keys:
        keys.set_permissions(path, perms)
    return True


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
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.wait vminterface/agent vm=work timeout=30
    """
    with _keys(vm) as keys:
        return keys.wait(path, value, absent=absent, timeout=timeout)


def domid(vm):
    """
    Return the domid of a running VM.

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.domid work
    """
    with _returns.raising(SaltInvocationError, CommandExecutionError), _targets.Targets() as targets:
        return targets.one(vm, "xenstore").domid


def update(keys, vm=None):
    """
    Bring many keys to their values at once: one batch to compare, one transaction to write what differs.

    Returns ``{path: {"old": …, "new": …}}`` of what differed; None stands for no such key.

    keys
        Mapping of paths to values; null removes a key and all keys below it.
    vm
        Name of a running VM whose own keys are meant.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.update '{qubes-timezone: Europe/Warsaw, qubes-service/cups: null}' vm=work
    """
    with _keys(vm) as store:
        return store.update(keys)
