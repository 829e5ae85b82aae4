"""What the stores hold of many VMs at once: their keys by field, and what their agents wrote.

Two pipelined batches whatever the number of VMs in a XenStore: the names that exist, then the values of those that
matter. A QubesDB, which is one VM's alone, is read in one request.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, cast

from vminterface import keys
from vminterface.channel.store import KeyStore, List, Read, VMStore
from vminterface.dom0.inventory import groups
from vminterface.dom0.inventory.targets import Target, Targets
from vminterface.errors import InvalidValue, KeyNotFound, StoreError, VMInterfaceError
from vminterface.values.acknowledgement import Acknowledgement
from vminterface.values.announcement import Announcement
from vminterface.values.service import of_hash

#: Fields of one VM in a QubesDB of its own, and bytes in their keys, that are kept: a VM may write as much as it likes,
#: and dom0 holds the states of all of them at a time.
KEYS_MAX, BYTES_MAX = 2_000, 256 << 10


class VMState:
    """What the store holds of one VM. All of it may come from the VM: it is compared and shown, never trusted."""

    def __init__(self, target: Target) -> None:
        self.target = target
        #: Value of each key that exists, by field; Unreadable where its text is not a valid one.
        self.values: dict[str, Any] = {}
        #: The exact texts of these, which are acknowledged, and written back where a push fails.
        self.texts: dict[str, str] = {}
        #: Whether the VM can write its answers: in the XenStore, dom0 has to give it a node for them.
        self.can_acknowledge = False
        #: Whether the store has lost its keys, an agent's announcement too: dom0's QubesDB daemon was started afresh.
        self.afresh = False
        self.agent: Announcement | None = None
        self.acknowledgements: dict[str, Acknowledgement] = {}
        #: Why its keys could not be read, with its name; the rest is then as far as it came.
        self.error: VMInterfaceError | None = None

    def fail(self, error: VMInterfaceError) -> None:
        """Note the first *error*."""
        if self.error is None:
            self.error = type(error)(f"{self.target.vm}: {error}")

    def hold(self, field_: str, text: str) -> None:
        """Note that the key of a field holds *text*."""
        self.texts[field_], self.values[field_] = text, keys.read_value(field_, text)

    def inputs(self, setting: str) -> dict[str, str]:
        """Return the texts that *setting* is made of."""
        return keys.inputs_of(setting, self.texts)


def decode(value: bytes) -> str:
    """Return a key's bytes as text; invalid UTF-8 round-trips (surrogateescape)."""
    return value.decode("utf-8", "surrogateescape")


def by_store(targets: Iterable[Target]) -> list[list[Target]]:
    """Return *targets* grouped by the store that holds them."""
    found: dict[int, list[Target]] = {}
    for target in targets:
        found.setdefault(id(target.store), []).append(target)
    return list(found.values())


def read(targets: Sequence[Target], fields: Mapping[str, Collection[str]] | None = None) -> dict[str, VMState]:
    """Return the state of each of *targets* (all of one store) by VM name.

    *fields* are those that matter of each VM; the others of the same settings are read too, because an
    acknowledgement speaks of them all. Without it, every key of the table that exists is read. What the store refuses
    of one VM is that VM's error, as are the faults of its own QubesDB; raises the XenStore's faults.
    """
    store = targets[0].store
    desired = None if fields is None else {vm: _whole_settings(names) for vm, names in fields.items()}
    states = {t.vm: VMState(t) for t in targets}
    if store.per_vm:
        for vm, state in states.items():
            try:
                _take_all(state, None if desired is None else desired[vm])
            except VMInterfaceError as error:
                state.fail(error)
        return states
    reads: list[tuple[VMState, str, str]] = []
    for state, names in zip(states.values(), _names(store, states.values()), strict=True):
        vm = state.target.vm
        state.can_acknowledge = keys.ACKNOWLEDGEMENTS in names
        for name in names:
            row = keys.for_name(name)
            if row is not None and (desired is None or _matters(row.field, desired[vm])):
                reads.append((state, name, row.field))
        if state.can_acknowledge:
            settings = _APPLIED if desired is None else keys.settings_of(f for f in desired[vm] if not f.endswith("*"))
            settings |= {"services"} if desired is not None and "services:*" in desired[vm] else set()
            reads += [(state, keys.AGENT, ""), *((state, keys.acknowledgement(s), "") for s in settings)]
    for (state, name, field_), value in zip(
        reads, store.batch([Read(state.target.path(name)) for state, name, _ in reads]), strict=True
    ):
        if isinstance(value, VMInterfaceError):
            if not isinstance(value, KeyNotFound):
                state.fail(value)
        elif field_:
            _take(state, name, field_, value)
        else:
            note_acknowledgement(state, name, value)
    return states


def read_all(
    targets: Iterable[Target], fields: Mapping[str, Collection[str]] | None = None
) -> tuple[dict[str, VMState], dict[str, VMInterfaceError]]:
    """Return the state of each of *targets*, whatever their stores, and why some have none, both by VM name.

    *fields* as for :func:`read`; all stores are asked at once. A VM writes as it likes, and costs nobody else an answer
    by it: its error takes the place of its state. Raises the XenStore's faults.
    """
    states: dict[str, VMState] = {}
    errors: dict[str, VMInterfaceError] = {}

    def read_group(group: Sequence[Target]) -> None:
        for vm, one in read(group, None if fields is None else {t.vm: fields[t.vm] for t in group}).items():
            if one.error is None:
                states[vm] = one
            else:
                errors[vm] = one.error

    groups.run(by_store(targets), read_group, lambda left: None)
    return states, dict(sorted(errors.items()))


def observe(
    targets: Targets,
    vms: Iterable[str],
    fields: Collection[str] | None = None,
    *,
    timeout: float | None = None,
) -> tuple[dict[str, VMState], dict[str, VMInterfaceError]]:
    """Return the state of each of *vms* that runs, as :func:`read_all`; those that cannot be met are errors too."""
    errors: dict[str, VMInterfaceError] = {}
    states: dict[str, VMState] = {}
    for part in targets.waves(vms):
        found = targets.find(part, errors, timeout=timeout)
        some, more = read_all(found.values(), None if fields is None else dict.fromkeys(found, fields))
        states.update(some)
        errors.update(more)
    return states, dict(sorted(errors.items()))


def _take(state: VMState, name: str, field_: str, value: bytes) -> None:
    if field_.startswith(keys.HASHED):
        text = decode(value)
        if name := of_hash(field_.removeprefix(keys.HASHED), text):
            state.hold(f"services:{name}", text)
        return
    # A drifted spelling never hides the true one.
    if field_ not in state.texts or name == keys.for_field(field_).name:
        state.hold(field_, decode(value))


def _take_all(state: VMState, desired: Collection[str] | None) -> None:
    """Read a whole store that is one VM's own."""
    state.can_acknowledge = True
    base = state.target.base
    fields: dict[str, str] = {}

    def keep(path: str) -> bool:
        name = path[len(base) :]
        if name in _ACKNOWLEDGEMENTS:
            return True
        row = keys.for_name(name)
        if row is not None and (desired is None or _matters(row.field, desired)) and len(fields) <= KEYS_MAX:
            fields[path] = row.field
        return path in fields or name == "name"

    held = cast(VMStore, state.target.store).tree(base.rstrip("/") or "/", keep=keep)
    if len(fields) > KEYS_MAX or sum(map(len, held.values())) > BYTES_MAX:
        raise StoreError(f"{base}: more than {KEYS_MAX} keys or {BYTES_MAX} bytes of fields")
    state.afresh = f"{base}name" not in held
    for path, value in held.items():
        if (name := path[len(base) :]) in _ACKNOWLEDGEMENTS:
            note_acknowledgement(state, name, value)
        elif path in fields:
            _take(state, name, fields[path], value)


@functools.lru_cache(maxsize=64)
def _announcement(untrusted_text: str) -> Announcement:
    # Most VMs' agents announce the same, which a push reads three times of each.
    return Announcement.parse(untrusted_text)


def note_acknowledgement(state: VMState, name: str, untrusted_value: bytes | None) -> None:
    """Take what the VM wrote under *name*, a key below ``vminterface``; what does not parse is ignored."""
    setting = name.rpartition("/")[2]
    try:
        if name == keys.AGENT:
            state.agent = None if untrusted_value is None else _announcement(decode(untrusted_value))
        elif untrusted_value is None:
            state.acknowledgements.pop(setting, None)
        else:
            state.acknowledgements[setting] = Acknowledgement.parse(decode(untrusted_value))
    except InvalidValue:
        if name == keys.AGENT:
            state.agent = None
        else:
            state.acknowledgements.pop(setting, None)


_APPLIED = {row.setting for row in keys.TABLE if row.setting}
_ACKNOWLEDGEMENTS = {keys.AGENT, *map(keys.acknowledgement, _APPLIED)}
#: What a XenStore may hold of families: its names have no dots.
#: Of keys that a XenStore may hold; the others are qubesd's.
_FOLDERS = [row.name[:-2] for row in keys.TABLE if row.family and row.pushed]


def _matters(field_: str, desired: Collection[str]) -> bool:
    return field_ in desired or field_.partition(":")[0] + ":*" in desired


def _whole_settings(fields: Collection[str]) -> set[str]:
    settings = keys.settings_of(fields)
    hashed = {f"{keys.HASHED}*"} if any(field.startswith("services:") for field in fields) else set()
    return {*fields, *hashed, *(row.field for row in keys.TABLE if row.setting in settings)}


def _names(store: KeyStore, states: Collection[VMState]) -> list[list[str]]:
    """The names that exist below each target, those of families (``qubes-service/cups``) with their folder."""
    folders = ["", *_FOLDERS]
    listings = store.batch([List(one.target.path(f).rstrip("/") or "/") for one in states for f in folders])
    names: list[list[str]] = []
    for at, state in enumerate(states):
        own: list[str] = []
        for folder, listing in zip(folders, listings[at * len(folders) : (at + 1) * len(folders)], strict=True):
            if not isinstance(listing, VMInterfaceError):
                own += [f"{folder}/{name}" if folder else name for name in listing]
            elif not isinstance(listing, KeyNotFound):
                state.fail(listing)
        names.append(own)
    return names
