"""
Bare XenStore keys, for settings that ``qubes_vm`` does not know. They do not wait for an agent.

A path is absolute (``/vm``), or, with ``vm``, below that VM's own ``/local/domain/<domid>/``; the keys of a VM that is
not running are an error only with ``require_running: True``. In test mode nothing is written.

.. code-block:: yaml

    vm-config/greeting:
      xenstore.present:
        - vm: work
        - value: hello

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from vminterface.dom0.results.states import keys as _keys
    from vminterface.dom0.results.states import watched as _watched

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__opts__: dict[str, Any]

__virtualname__ = "xenstore"


def __virtual__() -> str | tuple[bool, str]:
    if MISSING:
        return False, f"xenstore: {MISSING}; run saltutil.sync_all, or with salt-ssh set thin_extra_mods: vminterface"
    return __virtualname__


def present(name: str, value: str | int, vm: str | None = None, require_running: bool = False) -> dict[str, Any]:
    """
    Let a key have a value.

    .. versionadded:: 0.1.0

    name
        Path of the key.
    value
        Text or a whole number.
    vm
        Name of the VM whose own keys are meant.
    require_running
        Whether it is an error if the VM is not running.

    .. code-block:: yaml

        vm-config/greeting:
          xenstore.present:
            - vm: work
            - value: hello
    """
    return _keys.present("xenstore", name, value, vm, require_running=require_running, test=__opts__["test"])


def absent(name: str, vm: str | None = None, require_running: bool = False) -> dict[str, Any]:
    """
    Let there be no such key, and none below it.

    .. versionadded:: 0.1.0

    name
        Path of the key.
    vm
        Name of the VM whose own keys are meant.
    require_running
        Whether it is an error if the VM is not running.

    .. code-block:: yaml

        vm-config/greeting:
          xenstore.absent:
            - vm: work
    """
    return _keys.absent("xenstore", name, vm, require_running=require_running, test=__opts__["test"])


def tree(
    name: str, keys: Mapping[str, Any], vm: str | None = None, prune: bool = False, require_running: bool = False
) -> dict[str, Any]:
    """
    Let the keys below a key have these values, all at once or not at all.

    .. versionadded:: 0.1.0

    name
        Path of the key.
    keys
        Mapping of names to values; a mapping in it is a subtree, null is a key that shall not exist.
    vm
        Name of the VM whose own keys are meant.
    prune
        Whether other keys below ``name`` shall be removed.
    require_running
        Whether it is an error if the VM is not running.

    .. code-block:: yaml

        vm-config:
          xenstore.tree:
            - vm: work
            - keys:
                greeting: hello
                colours: {sky: blue, grass: green}
            - prune: True
    """
    return _keys.tree("xenstore", name, keys, vm, prune=prune, require_running=require_running, test=__opts__["test"])


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
