"""The time zone on a host with qubesd, which gives one to every VM at its start, but for those that shall be anonymous.

A VM with the feature ``anon-timezone`` (Whonix), its own or its template's, must not learn the zone of its user. So it
has none of ``qubes:defaults`` either, only one that the pillar gives to this VM itself. Source: Qubes core-admin,
``create_qdb_entries``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from vminterface.dom0.qubesd import Qubesd
from vminterface.dom0.settings import VMSettings
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.timezone import Timezone

#: dom0's link to the zone that qubesd writes into VMs.
LOCALTIME = "/etc/localtime"
#: The key of the zone that qubesd keeps for the VM, beside the one that qubesd writes itself.
PERSISTENT_TIMEZONE = "lasting:timezone"
ANONYMOUS = "anon-timezone"


def without_default(settings: VMSettings, qubesd: Qubesd) -> tuple[VMSettings, list[str]]:
    """Return *settings* without a zone of ``qubes:defaults`` that the VM must not have, and what to say of that.

    Raises the errors of AdminAPI for settings that qubesd is to keep; others do without it.
    """
    if "timezone" not in settings.from_defaults or settings.desired.get("timezone") is None:
        return settings, []
    desired = dict(settings.desired)
    try:
        if not _is_anonymous(settings.vm, qubesd):
            return settings, []
    except VMInterfaceError as error:
        if settings.persist:
            raise
        # What an anonymous VM has once learned cannot be taken back.
        del desired["timezone"]
        remark = f"the defaults' timezone is left out, as it is unknown whether the VM has {ANONYMOUS} ({error})"
    else:
        # Not only left alone: what an earlier push, or qubesd on its behalf, has given the VM goes.
        desired["timezone"] = None
        remark = f"the defaults' timezone is left out, as the VM has the feature {ANONYMOUS}"
    return replace(settings, desired=desired), [remark]


def keys_of(settings: VMSettings, qubesd: Qubesd) -> Mapping[str, str | None]:
    """Return what the keys of the running VM are to hold of its zone, ``default`` being what qubesd writes at a start.

    Raises the errors of AdminAPI.
    """
    if "timezone" not in settings.desired:
        return {}
    zone = settings.desired["timezone"]
    persistent = {PERSISTENT_TIMEZONE: zone if settings.persist else None}
    if zone is not None or not qubesd.expected:
        return {"timezone": zone, **persistent}
    if _is_anonymous(settings.vm, qubesd):
        return {"timezone": None, **persistent}
    written = _zone_of_dom0()
    return persistent if written is None else {"timezone": written, **persistent}


def _is_anonymous(vm: str, qubesd: Qubesd) -> bool:
    thing = f"feature {ANONYMOUS}"
    return bool(qubesd.call(vm, "timezone", thing, lambda api: api.feature_with_template(vm, ANONYMOUS)))


def _zone_of_dom0() -> str | None:
    """Return the zone that qubesd writes; None where it is not named by a link, so that what it writes is unknown."""
    try:
        return Timezone.parse(os.readlink(LOCALTIME).partition("zoneinfo/")[2]).render()
    except (OSError, InvalidValue):
        return None
