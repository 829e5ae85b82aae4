"""
Read and write XenStore keys from dom0.

A path is absolute (``/vm``), or, with ``vm``, below that VM's own ``/local/domain/<domid>/``. Values are shown as
printable ASCII, every other byte as an escape such as ``\\x1b``, because a VM may have written them.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from vminterface.dom0.inventory import targets as _targets
    from vminterface.dom0.results import barekeys as _barekeys
    from vminterface.dom0.results import raising as _raising

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "xenstore"
__func_alias__ = {"list_": "list"}


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"xenstore: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def _keys(vm: str | None, timeout: float | None = None) -> AbstractContextManager[_barekeys.BareKeys]:
    """The store for one call; its errors become Salt's."""
    return _barekeys.opened("xenstore", vm, SaltInvocationError, CommandExecutionError, timeout)


def read(path: str, vm: str | None = None) -> str | None:
    """
    Return the value of a key.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.read qubes-timezone vm=work
    """
    with _keys(vm) as keys:
        return keys.read(path)


def write(path: str, value: str | int, vm: str | None = None) -> bool:
    """
    Set a key to a value, whatever it held; missing parents are made. Returns True.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    value
        Text or a whole number.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.write qubes-timezone Europe/Warsaw vm=work
    """
    with _keys(vm) as keys:
        keys.write(path, value)
    return True


def list_(path: str, vm: str | None = None) -> list[str]:
    """
    Return the names directly below a key, sorted.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.list /local/domain
    """
    with _keys(vm) as keys:
        return keys.list(path)


def tree(path: str, vm: str | None = None) -> dict[str, str | None]:
    """
    Return the values of a key and of all keys below it, by full path.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.tree qubes-service vm=work
    """
    with _keys(vm) as keys:
        return keys.tree(path)


def exists(path: str, vm: str | None = None) -> bool:
    """
    Return whether the key exists; it may be empty.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.exists qubes-service/cups vm=work
    """
    with _keys(vm) as keys:
        return keys.exists(path)


def remove(path: str, vm: str | None = None) -> bool:
    """
    Remove a key and all keys below it. Returns whether there was one.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.remove qubes-service/cups vm=work
    """
    with _keys(vm) as keys:
        return keys.remove(path)


def perms(path: str, vm: str | None = None) -> list[str]:
    """
    Return the permissions of a key in XenStore's own notation, the owner first: ``["n0", "r3"]``.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.perms vminterface vm=work
    """
    with _keys(vm) as keys:
        return keys.permissions(path)


def set_perms(path: str, perms: Sequence[str] | str, vm: str | None = None) -> bool:
    """
    Replace the permissions of a key. Returns True.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    perms
        List of permissions, or one text with commas: the owner first (``n0``: others may do nothing), then one
        for each other domain (``r3``, ``w3``, ``b3``: domain 3 may read, write, do both).
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.set_perms /tool/shared n0,r3
    """
    with _keys(vm) as keys:
        keys.set_permissions(path, perms)
    return True


def wait(
    path: str, value: str | int | None = None, absent: bool = False, timeout: float = 10, vm: str | None = None
) -> str | None:
    """
    Wait until a key has a value (without ``value``: until the key exists), and return its value.

    .. versionadded:: 0.1.0

    path
        Path of the key.
    value
        Text or whole number to wait for.
    absent
        Wait until the key does not exist.
    timeout
        Seconds to wait at most, for the store and the VM too; then this is an error.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.wait vminterface/agent vm=work timeout=30
    """
    with _keys(vm, timeout) as keys:
        return keys.wait(path, value, absent=absent)


def domid(vm: str) -> int | None:
    """
    Return the domid of a running VM.

    .. versionadded:: 0.1.0

    vm
        Name of the VM.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.domid work
    """
    with _raising.raising(SaltInvocationError, CommandExecutionError), _targets.Targets() as targets:
        return targets.one(vm, "xenstore").domid


def update(keys: Mapping[str, Any], vm: str | None = None) -> dict[str, dict[str, str | None]]:
    """
    Bring many keys to their values at once: one batch to compare, one transaction to write what differs.

    Returns ``{path: {"old": …, "new": …}}`` of what differed; None stands for a missing key.

    .. versionadded:: 0.1.0

    keys
        Mapping of paths to values; null removes a key and all keys below it.
    vm
        Name of a running VM whose own keys are used.

    CLI Example:

    .. code-block:: bash

        salt-call xenstore.update '{qubes-timezone: Europe/Warsaw, qubes-service/cups: null}' vm=work
    """
    with _keys(vm) as store:
        return store.update(keys)
