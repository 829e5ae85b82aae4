"""
Bare XenStore keys, for what ``qubes_vm`` has no word for. Nothing waits for an agent here.

A path is absolute (``/vm``), or, with ``vm``, below that VM's own ``/local/domain/<domid>/``; the keys of a VM that is
not running are no error, unless ``require_running: True`` says so. In test mode nothing is written.

.. code-block:: yaml

    vm-config/greeting:
      xenstore.present:
        - vm: work
        - value: hello

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

try:
    from vminterface.dom0.states import keys as _keys
    from vminterface.dom0.states import watched as _watched

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

__virtualname__ = "xenstore"


def __virtual__():
    if MISSING:
        return False, f"xenstore: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def present(name, value, vm=None, require_running=False):
    """
    Let a key have a value.

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


def absent(name, vm=None, require_running=False):
    """
    Let there be no such key, and none below it.

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


def tree(name, keys, vm=None, prune=False, require_running=False):
    """
    Let the keys below a key have these values, all at once or not at all.

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


def mod_watch(name, sfun=None, **kwargs):
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.
    """
    return _watched.once_more(globals()[sfun], name, kwargs)
