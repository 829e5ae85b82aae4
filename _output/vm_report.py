"""
Shows what VMs report (``qubes_vm.report``) as a table with bars of memory; as JSON where nobody watches.

.. code-block:: bash

    salt-call --out=vm_report qubes_vm.report

Needs the library ``vminterface``, which is synced from ``_utils`` or installed as a package.
"""

import json
import shutil
import sys

try:
    from vminterface.dom0 import reporttable as _table

    MISSING = ""
except ImportError as error:
    MISSING = str(error)


def __virtual__():
    if MISSING:
        return False, f"vm_report: the library vminterface cannot be imported ({MISSING}); run saltutil.sync_utils"
    return True


def output(data, **kwargs):
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


def _is_reports(returned):
    return isinstance(returned, dict) and all(isinstance(r, dict) and "warnings" in r for r in returned.values())
