"""Answer what VMs call dom0 for: their features, applications and updates, on hosts without qubesd.

Forms and limits: Qubes core-admin ``qubes/api/misc.py``, desktop-linux-common ``qubes.SyncAppMenus``. On Qubes, qubesd
makes features of a VM out of what it asks for; here it is noted for the admin, and nothing else follows.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from vminterface.channel import adminapi
from vminterface.channel.store import KeyStore, List, Read
from vminterface.deadline import Deadline
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.dom0.menu.find import find
from vminterface.dom0.notices import record
from vminterface.errors import InvalidValue, KeyNotFound, ServiceNotFound, VMInterfaceError, printable
from vminterface.values import featurerequest
from vminterface.values.appmenu import REPLY_LIMIT, MenuEntries
from vminterface.values.vmname import VMName, refuse_dom0

#: Seconds within which a VM has to have sent its input.
TIMEOUT = 60.0
#: Keys of one VM that are looked at, and digits of a number of updates.
FEATURES_MAX, _DIGITS = 500, 10
_CHUNK = 65536


def reply(service: str, environment: Mapping[str, str], stdin: int) -> None:
    """Answer the call of *service* that this process was started for, with the input *stdin*.

    Raises ServiceNotFound, InvalidValue (the caller, an argument, its input), VMInterfaceError on a host with qubesd.
    """
    work = SERVICES.get(service)
    if work is None:
        raise ServiceNotFound(f"{printable(service, 60)}: not served here (expected {', '.join(SERVICES)})")
    if adminapi.expected():
        raise VMInterfaceError(f"{service}: this host has a qubesd, which itself serves it")
    untrusted_source = environment.get("QREXEC_REMOTE_DOMAIN", "")
    refuse_dom0(untrusted_source)
    vm = VMName.parse(untrusted_source).render()
    if environment.get("QREXEC_SERVICE_ARGUMENT"):
        raise InvalidValue(f"{service} of {vm}: does not accept an argument")
    try:
        work(vm, stdin)
    except InvalidValue as error:
        raise InvalidValue(f"{service} of {vm}: {error}") from error


def _features(vm: str, stdin: int) -> None:
    _note_features(vm, featurerequest.FOLDER, None)


def _tools(vm: str, stdin: int) -> None:
    _note_features(vm, featurerequest.TOOLS_FOLDER, featurerequest.TOOLS)


def _note_features(vm: str, folder: str, names: tuple[str, ...] | None) -> None:
    check = featurerequest.check if names is None else featurerequest.check_tool
    with Targets() as targets:
        untrusted_features = _values(targets.one(vm), folder, names)
    for name, value in untrusted_features.items():
        check(name, value)
    notices = record.read(vm)
    notices.features, notices.features_at = untrusted_features, _now()
    record.write(vm, notices)


def _values(target: Target, folder: str, names: tuple[str, ...] | None) -> dict[str, str]:
    """Return what the VM has written below *folder*, untrusted; of *names* alone, where some are given."""
    store: KeyStore = target.store
    untrusted_names = list(names or ())
    if names is None:
        (listing,) = store.batch([List(target.path(folder))])
        if isinstance(listing, VMInterfaceError):
            if not isinstance(listing, KeyNotFound):
                raise listing
            listing = []
        untrusted_names = sorted(listing)
    if len(untrusted_names) > FEATURES_MAX:
        raise InvalidValue(f"{len(untrusted_names)} keys below {folder} are too many (expected at most {FEATURES_MAX})")
    found = {}
    values = store.batch([Read(target.path(f"{folder}/{name}")) for name in untrusted_names])
    for name, value in zip(untrusted_names, values, strict=True):
        if isinstance(value, bytes):
            feature = name if store.channel == "qubesdb" else featurerequest.from_xenstore(name)
            found[feature] = value.decode("latin-1")
    return found


def _updates(vm: str, stdin: int) -> None:
    text = _input(stdin, _DIGITS + 2).strip()
    if not text.isdigit() or len(text) > _DIGITS:
        raise InvalidValue(f"'{printable(text, 40)}' is not a valid number of updates (expected digits)")
    notices = record.read(vm)
    notices.updates, notices.updates_at = bool(int(text)), _now()
    record.write(vm, notices)


def _applications(vm: str, stdin: int) -> None:
    untrusted_reply = _input(stdin, REPLY_LIMIT)
    offered, menu = MenuEntries.parse(untrusted_reply), find()
    # A VM that offers none has failed to find them, more likely than not.
    if menu.desired(offered):
        menu.update(vm, offered)
    elif untrusted_reply.strip():
        raise InvalidValue("the input has no application with a name (expected lines ID.desktop:KEY=VALUE)")


def _input(stdin: int, limit: int) -> bytes:
    """Return all that the VM sends. Raises InvalidValue for more than *limit* bytes, DeadlineExceeded."""
    deadline = Deadline.after(TIMEOUT)
    waiting = select.poll()
    waiting.register(stdin, select.POLLIN)
    data = b""
    pieces: list[bytes] = []
    size = 0
    while size <= limit:
        if not waiting.poll(1000 * deadline.remaining):
            deadline.check("the VM's input")
        if not (data := os.read(stdin, _CHUNK)):
            return b"".join(pieces)
        pieces.append(data)
        size += len(data)
    raise InvalidValue(f"the input is too long (expected at most {limit} bytes)")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


#: What answers each of them.
SERVICES: Mapping[str, Callable[[str, int], None]] = {
    "qubes.FeaturesRequest": _features,
    "qubes.NotifyTools": _tools,
    "qubes.NotifyUpdates": _updates,
    "qubes.SyncAppMenus": _applications,
}
