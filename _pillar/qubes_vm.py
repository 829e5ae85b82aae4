"""
What dom0 knows of its VMs, as pillar ``qubes_known``, so that formulas can use it: by VM ``running``, ``domid``,
``keys`` (by field, such as ``timezone`` or ``network:ip``), ``invalid``, and on Qubes R4 ``class`` and ``features``.

The VMs are those of the host that compiles the pillar, so this is for a masterless minion in dom0, or for a master
that is dom0. The minion called ``dom0`` gets what is known of all VMs, a minion that has a VM's name that of this VM
alone: Qubes sends each VM its pillar. ``minion`` names another one to get all of it, and then no other gets any. In the
configuration of that minion or master:

.. code-block:: yaml

    ext_pillar:
      - qubes_vm:
          minion: xen1.example.org

``keys`` come from the VMs' stores, where a VM may have written some of its own: they are what is, not what shall be.
They have valid values alone; ``invalid`` lists the fields of the others. A valid one may still hold what means
something to YAML, so in a state file it is to be written with ``| tojson``.

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

try:
    from vminterface.channel.xenstore.store import XenStore as _XenStore
    from vminterface.dom0.inventory.targets import Targets as _Targets
    from vminterface.dom0.results import known as _known
    from vminterface.errors import VMInterfaceError

    MISSING = ""
except ImportError as error:
    MISSING = str(error)

log = logging.getLogger(__name__)

KEY = "qubes_known"
#: The ID of the minion in Qubes' dom0.
DOM0 = "dom0"
# Nothing else is done while a pillar is compiled: a store that hangs must not hold it up for long.
TIMEOUT = 2.0


def __virtual__() -> bool | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_vm: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_all"
    return True


def ext_pillar(minion_id: str, pillar: Mapping[str, Any], minion: str | None = None) -> dict[str, Any]:
    """
    Return the pillar ``qubes_known``; nothing where the host's stores cannot be reached, without a VM whose own
    QubesDB cannot be read. Either is logged.

    minion_id
        The minion whose pillar is compiled.
    pillar
        Its pillar so far; not used.
    minion
        The one minion that gets it, of all VMs. Without it, ``dom0`` does, and each VM what is known of itself.
    """
    if minion is not None and minion != minion_id:
        return {}
    only = None if minion is not None or minion_id == DOM0 else minion_id
    try:
        with _Targets(lambda: _XenStore.open(timeout=TIMEOUT)) as targets:
            found, errors = _known.read(targets, only=only, timeout=TIMEOUT)
    except VMInterfaceError as error:
        log.warning("pillar %s: %s", KEY, error)
        return {}
    for problem in errors.values():
        log.warning("pillar %s: %s; left out", KEY, problem)
    return {KEY: found} if found or only is None else {}
