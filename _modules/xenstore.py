"""
Read and write XenStore keys from dom0.

A path is absolute (``/vm``), or, with ``vm``, below that VM's own ``/local/domain/<domid>/``. Values are shown as
printable ASCII, every other byte as an escape such as ``\\x1b``, because a VM may have written them.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.channel import update as _update
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


class _Store:
    """The host's XenStore for one call: opened, and closed again; its errors become Salt's."""

    def __init__(self):
        self._targets = _targets.Targets()
        self._raising = _returns.raising(SaltInvocationError, CommandExecutionError)

    def __enter__(self):
        self._raising.__enter__()
        return self

    def __exit__(self, *error):
        self._targets.close()
        return self._raising.__exit__(*error)

    @property
    def keys(self):
        return self._targets.xenstore

    def path(self, path, vm):
        text = _update.path_text(path)
        return text if vm is None else self._targets.one(vm, "xenstore").path(text)

    def domid(self, vm):
        return self._targets.one(vm, "xenstore").domid


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
    with _Store() as store:
        return _returns.shown(store.keys.read(store.path(path, vm)))


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
    with _Store() as store:
        store.keys.write(store.path(path, vm), _update.value_bytes(value))
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
    with _Store() as store:
        return sorted(_returns.shown(name.encode()) for name in store.keys.list(store.path(path, vm)))


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
    with _Store() as store:
        found = store.keys.tree(store.path(path, vm))
        return {_returns.shown(key.encode()): _returns.shown(value) for key, value in sorted(found.items())}


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
    with _Store() as store:
        return store.keys.exists(store.path(path, vm))


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
    with _Store() as store:
        return bool(_update.update(store.keys, {store.path(path, vm): None}))


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
    with _Store() as store:
        return store.keys.permissions(store.path(path, vm))


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
    wanted = perms.split(",") if isinstance(perms, str) else perms
    if not isinstance(wanted, list) or not all(isinstance(p, str) for p in wanted):
        raise SaltInvocationError("perms: expected a list such as [n0, r3]")
    with _Store() as store:
        store.keys.set_permissions(store.path(path, vm), wanted)
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
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
        raise SaltInvocationError("timeout: expected seconds, more than 0 and at most 3600")
    with _Store() as store:
        expected = None if value is None else _update.value_bytes(value)

        def holds(now):
            return now is None if absent else now is not None and expected in (None, now)

        return _returns.shown(store.keys.wait_for(store.path(path, vm), holds, timeout=timeout))


def domid(vm):
    """
    Return the domid of a running VM.

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.domid work
    """
    with _Store() as store:
        return store.domid(vm)


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
    if not isinstance(keys, dict):
        raise SaltInvocationError("keys: expected a mapping of paths to values")
    with _Store() as store:
        wanted = {
            store.path(path, vm): None if value is None else _update.value_bytes(value) for path, value in keys.items()
        }
        return _returns.key_changes(_update.update(store.keys, wanted))
