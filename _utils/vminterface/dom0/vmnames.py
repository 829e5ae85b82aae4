"""Whether qubesd knows the VMs that settings name: it keeps nothing of many fields, so no call would tell."""

from __future__ import annotations

import difflib

from vminterface.dom0.fields import DEFAULT
from vminterface.dom0.qubesd import Qubesd
from vminterface.dom0.settings import VMSettings
from vminterface.errors import VMNotFound


def check(settings: VMSettings, qubesd: Qubesd) -> None:
    """Raise VMNotFound for a name that is not in qubesd's list; where that cannot be had, nothing is checked."""
    if not qubesd.available or (known := qubesd.names) is None:
        return
    named = {"": settings.vm, "netvm": settings.netvm}
    if settings.firewall is not None:
        named["firewall:netvm"] = settings.firewall.netvm
    for field, name in named.items():
        if name and name != DEFAULT and name not in known:
            where = settings.path(field) if field else settings.where or settings.vm
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f" (did you mean '{near[0]}'?)" if near else ""
            raise VMNotFound(f"{where}: qubesd knows no VM '{name}'{hint}")
