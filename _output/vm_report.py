"""
Shows what VMs report (``qubes_vm.report``) as a table with bars of memory; as JSON where nobody watches.

.. code-block:: bash

    salt-call --out=vm_report qubes_vm.report

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Salt puts the synced `_utils` on the import path while it loads modules, states or grains, but not for outputters.
_SYNCED = str(Path(__file__).parent.with_name("utils"))
sys.path.append(_SYNCED)
try:
    from vminterface.dom0.reports import table as _table

    MISSING = ""
except ImportError as error:
    MISSING = str(error)
finally:
    sys.path.remove(_SYNCED)


def __virtual__() -> bool | tuple[bool, str]:
    if MISSING:
        return False, f"vm_report: {MISSING}; run saltutil.sync_all (salt-run saltutil.sync_all on the master)"
    return True


def output(data: Mapping[str, Any], **kwargs: Any) -> str:
    """
    Return *data*, reports by VM below each minion's name, as text.

    CLI Example:

    .. code-block:: bash

        salt-call --out=vm_report qubes_vm.report
    """
    if not sys.stdout.isatty() or not all(_is_reports(returned) for returned in data.values()):
        return json.dumps(data, indent=2, sort_keys=True, default=str)
    columns = shutil.get_terminal_size().columns
    return "\n".join(f"{minion}:\n{_table.render(reports, columns)}" for minion, reports in data.items())


def _is_reports(returned: Any) -> bool:
    return isinstance(returned, dict) and all(isinstance(r, dict) and "warnings" in r for r in returned.values())
