"""
Shows what the runner ``qubes_fleet`` returns as lines: one a host, and what needs attention.

.. code-block:: bash

    salt-run qubes_fleet.status

``--out=json`` shows all of it to programs. Needs the library ``vminterface``, which is synced from ``_utils`` or
installed as a package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Salt puts the synced `_utils` on the import path while it loads modules, states or grains, but not for outputters.
_SYNCED = str(Path(__file__).parent.with_name("utils"))
sys.path.append(_SYNCED)
try:
    from vminterface.dom0.fleet import lines as _lines

    MISSING = ""
except ImportError as error:
    MISSING = str(error)
finally:
    sys.path.remove(_SYNCED)


def __virtual__() -> bool | tuple[bool, str]:
    if MISSING:
        return False, f"qubes_fleet: {MISSING}; run saltutil.sync_all (salt-run saltutil.sync_all on the master)"
    return True


def output(data: Mapping[str, Any], **kwargs: Any) -> str:
    """
    Return *data*, what a function of the runner ``qubes_fleet`` returns, as text.

    CLI Example:

    .. code-block:: bash

        salt-run qubes_fleet.status
    """
    try:
        return _lines.render(data)
    except (LookupError, TypeError, ValueError, AttributeError):
        return json.dumps(data, indent=2, sort_keys=True, default=str)
