"""The time zone on a host with qubesd, which gives one to every VM at its start, but for those that shall be anonymous.

A VM with the feature ``anon-timezone`` (Whonix), its own or its template's, must not learn the zone of its user. So it
has none of ``qubes:defaults`` either, only one that the pillar gives to this VM itself. Source: Qubes core-admin,
``create_qdb_entries``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.desired.words import PERSISTENT_TIMEZONE
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.push.persist.features import in_effect
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.timezone import Timezone

#: dom0's link to the zone that qubesd writes into VMs.
LOCALTIME = "/etc/localtime"
ANONYMOUS = "anon-timezone"


def without_default(settings: VMSettings, qubesd: Qubesd) -> tuple[VMSettings, list[str]]:
    """Return *settings* without a zone of ``qubes:defaults`` that the VM must not have, and a note about it.

    Raises the errors of AdminAPI for settings that qubesd is to keep; others do without it.
    """
    if "timezone" not in settings.from_defaults or settings.desired.get("timezone") is None:
        return settings, []
    desired = dict(settings.desired)
    try:
        if not _is_anonymous(settings, qubesd):
            return settings, []
    except VMInterfaceError as error:
        if settings.persist:
            raise
        # What an anonymous VM has once learned cannot be taken back.
        del desired["timezone"]
        remark = (
            f"the timezone of the defaults is left out, because it is unknown whether the VM has {ANONYMOUS} ({error})"
        )
    else:
        # Not only left alone: what an earlier push, or qubesd on its behalf, has given the VM goes.
        desired["timezone"] = None
        remark = f"the timezone of the defaults is left out, because the VM has the feature {ANONYMOUS}"
    return replace(settings, desired=desired), [remark]


def keys_of(settings: VMSettings, qubesd: Qubesd) -> Mapping[str, Timezone | None]:
    """Return what the keys of the running VM are to hold of its zone, ``default`` being what qubesd writes at a start.

    Raises the errors of AdminAPI.
    """
    if "timezone" not in settings.desired:
        return {}
    zone = settings.desired["timezone"]
    persistent = {PERSISTENT_TIMEZONE: zone if settings.persist else None}
    if zone is not None or not qubesd.expected:
        return {"timezone": zone, **persistent}
    if _is_anonymous(settings, qubesd):
        return {"timezone": None, **persistent}
    written = _zone_of_dom0()
    return persistent if written is None else {"timezone": written, **persistent}


def _is_anonymous(settings: VMSettings, qubesd: Qubesd) -> bool:
    return bool(in_effect(qubesd, settings, "timezone", ANONYMOUS))


def _zone_of_dom0() -> Timezone | None:
    """Return the zone that qubesd writes; None where it is not named by a link, so that what it writes is unknown."""
    try:
        return Timezone.parse(os.readlink(LOCALTIME).partition("zoneinfo/")[2])
    except (OSError, InvalidValue):
        return None
