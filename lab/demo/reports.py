"""The last part of a demo: what the VMs report of themselves, as dom0 reads it."""

from __future__ import annotations

import time

from lab.demo.checks import heading, require
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.reports import devices, table

_WITHIN = 10.0
_WIDTH = 100


def print_table(vms: list[str]) -> None:
    """Wait until every one of *vms* has reported its memory, and print the table. Raises Broken, VMInterfaceError."""
    heading("What the VMs report (`vminterface report`)")
    until = time.monotonic() + _WITHIN
    while True:
        with Targets() as targets:
            data = {vm: devices.as_data(report) for vm, report in devices.read(targets).items()}
        silent = [vm for vm in vms if vm not in data or not data[vm]["memory"]["used_kb"]]
        if not silent or time.monotonic() > until:
            break
        time.sleep(0.2)
    print(table.render(data, _WIDTH), end="")
    require(not silent, "each VM has told dom0 the memory that it uses")
