"""
Bare QubesDB keys (Qubes R3 and later), for what ``qubes_vm`` has no word for. Nothing waits for an agent here.

Each VM has a QubesDB of its own, which ``vm`` names; without it, the one of this machine is meant. A path may go
without its first slash. The keys of a VM that is not running are no error, unless ``require_running: True`` says so.
In test mode nothing is written.

.. code-block:: yaml

    /vm-config/greeting:
      qubesdb.present:
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

__virtualname__ = "qubesdb"


def __virtual__():
    if MISSING:
        return False, f"qubesdb: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return __virtualname__


def present(name, value, vm=None, require_running=False):
    """
    Let a key have a value.

    name
        Path of the key.
    value
        Text or a whole number.
    vm
        Name of the VM.
    require_running
        Whether it is an error if the VM is not running.

    .. code-block:: yaml

        vm-config/greeting:
          qubesdb.present:
            - vm: work
            - value: hello
    """
    return _keys.present("qubesdb", name, value, vm, require_running=require_running, test=__opts__["test"])


def absent(name, vm=None, require_running=False):
    """
    Let there be no such key, and none below it.

    name
        Path of the key.
    vm
        Name of the VM.
    require_running
        Whether it is an error if the VM is not running.

    .. code-block:: yaml

        vm-config/greeting:
          qubesdb.absent:
            - vm: work
    """
    return _keys.absent("qubesdb", name, vm, require_running=require_running, test=__opts__["test"])


def tree(name, keys, vm=None, prune=False, require_running=False):
    """
    Let the keys below a key have these values; the former ones are put back where one cannot be written.

    name
        Path of the key.
    keys
        Mapping of names to values; a mapping in it is a subtree, null is a key that shall not exist.
    vm
        Name of the VM.
    prune
        Whether other keys below ``name`` shall be removed.
    require_running
        Whether it is an error if the VM is not running.

    .. code-block:: yaml

        vm-config:
          qubesdb.tree:
            - vm: work
            - keys:
                greeting: hello
                colours: {sky: blue, grass: green}
            - prune: True
    """
    return _keys.tree("qubesdb", name, keys, vm, prune=prune, require_running=require_running, test=__opts__["test"])


def mod_watch(name, sfun=None, **kwargs):
    """
    A watched state has changed: do what the state *sfun* does once more, so that requisites and ``listen`` work.

    Not for use in SLS files.
    """
    return _watched.once_more(globals()[sfun], name, kwargs)
