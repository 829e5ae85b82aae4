"""``qubes.PostInstall``: after packages were installed, report this VM's features and applications to dom0.

No input, no output. The admin's programs in ``/etc/qubes/post-install.d`` run first; then the features are asked for
(keys below ``features-request``, ``qubes.FeaturesRequest``; ``qubes.NotifyTools`` where dom0 has no other), and the
applications go to dom0's menu (``qubes.SyncAppMenus``). All of it is tried, and failures are reported at the end. After
Qubes core-agent-linux's ``qubes.PostInstall``, where programs in that folder do all of it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from vminterface import keys
from vminterface.channel.qrexec import client
from vminterface.channel.qrexec.client import Qrexec
from vminterface.channel.store import KeyStore, Read, Write
from vminterface.errors import InvalidValue, ServiceNotFound, VMInterfaceError
from vminterface.values import featurerequest
from vminterface.values.persistence import Persistence
from vminterface.vm.handlers import getappmenus
from vminterface.vm.handlers.runtime import features, hooks
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.steps import Steps
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.ownstore import open_own_store

HOOKS = "/etc/qubes/post-install.d"
#: Seconds for all of an admin's programs, which may trim disks: dom0 waits 600 for everything.
TIMEOUT = 300.0
#: Seconds for each of the calls to dom0, three at most; it asks this VM for icons meanwhile.
CALL_TIMEOUT = 90.0
DOM0 = "dom0"
FEATURES, TOOLS, MENUS = "qubes.FeaturesRequest", "qubes.NotifyTools", "qubes.SyncAppMenus"
_NAMED = 5


def handle(call: Call) -> None:
    """Report to dom0. Raises InvalidValue (an argument), VMInterfaceError that names each part that failed."""
    call.refuse_argument()
    steps = Steps(call.machine, TIMEOUT)
    for path in hooks.programs(call.machine, HOOKS):
        steps.hook(path)
    qrexec = Qrexec()
    persistence = Persistence.FULL
    try:
        persistence = _request_features(call, qrexec)
    except VMInterfaceError as error:
        steps.error(f"features: {error}")
    # The applications of a VM that is based on a template are the template's.
    if persistence is Persistence.FULL:
        try:
            _send_applications(call, qrexec)
        except VMInterfaceError as error:
            steps.error(f"applications: {error}")
    steps.finish()


def _request_features(call: Call, qrexec: Qrexec) -> Persistence:
    """Write what this VM can do and have dom0 read it; return what of this VM outlives its shutdown."""
    with open_own_store(call.machine) as store:
        persistence = _persistence(call.machine, store)
        desired, left_out = features.collect(call.machine, persistence)
        if left_out:
            more = f"; and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
            call.note(f"left out: {'; '.join(left_out[:_NAMED])}{more}")
        _write(store, featurerequest.FOLDER, desired)
        try:
            qrexec.call(client.Call(DOM0, FEATURES, timeout=CALL_TIMEOUT))
        except ServiceNotFound:
            _write(store, featurerequest.TOOLS_FOLDER, features.tools(desired))
            qrexec.call(client.Call(DOM0, TOOLS, timeout=CALL_TIMEOUT))
    return persistence


def _write(store: KeyStore, folder: str, values: Mapping[str, str]) -> None:
    key_of = str if store.channel == "qubesdb" else featurerequest.to_xenstore
    named = {key: value for name, value in values.items() if (key := key_of(name)) is not None}
    outcomes = store.batch([Write(f"{store.home}{folder}/{key}", text.encode("ascii")) for key, text in named.items()])
    for outcome in outcomes:
        if isinstance(outcome, VMInterfaceError):
            raise outcome


def _persistence(machine: Files, store: KeyStore) -> Persistence:
    (value,) = store.batch([Read(store.home + keys.for_field("persistence").name)])
    try:
        return Persistence.parse(value.decode("latin-1"))
    except (AttributeError, InvalidValue):
        return getappmenus.persistence(machine)


def _send_applications(call: Call, qrexec: Qrexec) -> None:
    rendered = getappmenus.applications(call.machine, os.environ)
    if rendered.left_out:
        call.note(getappmenus.left_out(rendered.left_out))
    try:
        qrexec.call(client.Call(DOM0, MENUS, stdin=rendered.reply, timeout=CALL_TIMEOUT))
    except ServiceNotFound:
        call.note("dom0 does not accept applications: it has no qubes.SyncAppMenus")
