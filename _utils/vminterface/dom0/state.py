"""What the stores hold of many VMs at once: their keys by field, and what their agents have said.

Two pipelined batches whatever the number of VMs in a XenStore: the names that exist, then the values of those that
matter. A QubesDB, which is one VM's alone, is read in one request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from vminterface import keys
from vminterface.channel.qubesdb import QubesDB
from vminterface.channel.store import KeyStore, List, Read
from vminterface.dom0 import groups
from vminterface.dom0.settings import VMSettings
from vminterface.dom0.targets import Target, Targets
from vminterface.errors import InvalidValue, KeyNotFound, StoreError, VMInterfaceError
from vminterface.values.acknowledgement import Acknowledgement
from vminterface.values.announcement import Announcement

#: Fields of one VM in a QubesDB of its own, and bytes in their keys, that are kept: a VM may write as much as it likes,
#: and dom0 holds the states of all of them at a time.
KEYS_MAX, BYTES_MAX = 2_000, 256 << 10


@dataclass(slots=True)
class VMState:
    """What the store holds of one VM. All texts may come from the VM: they are compared and shown, never trusted."""

    target: Target
    #: Text of each key that exists, by field.
    texts: dict[str, str] = field(default_factory=dict)
    #: Whether the VM can write its answers: in the XenStore, dom0 has to give it a node for them.
    can_answer: bool = False
    #: Whether the store has lost its keys, an agent's announcement too: dom0's QubesDB daemon was started afresh.
    afresh: bool = False
    agent: Announcement | None = None
    acknowledgements: dict[str, Acknowledgement] = field(default_factory=dict)
    #: Why its keys could not be read, with its name; the rest is then as far as it came.
    error: VMInterfaceError | None = None

    def fail(self, error: VMInterfaceError) -> None:
        """Note the first *error*."""
        if self.error is None:
            self.error = type(error)(f"{self.target.vm}: {error}")

    def inputs(self, setting: str) -> dict[str, str]:
        """Return the texts that *setting* is made of."""
        return keys.inputs_of(setting, self.texts)


def decode(value: bytes) -> str:
    """Return a key's bytes as text; bytes that are no UTF-8 survive a way back."""
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
    wanted = None if fields is None else {vm: _whole_settings(names) for vm, names in fields.items()}
    states = {t.vm: VMState(t) for t in targets}
    if store.channel == "qubesdb":
        for vm, state in states.items():
            try:
                _take_all(state, None if wanted is None else wanted[vm])
            except VMInterfaceError as error:
                state.fail(error)
        return states
    reads: list[tuple[VMState, str, str]] = []
    for state, names in zip(states.values(), _names(store, states.values()), strict=True):
        vm = state.target.vm
        state.can_answer = keys.ANSWERS in names
        for name in names:
            row = keys.for_name(name)
            if row is not None and (wanted is None or _matters(row.field, wanted[vm])):
                reads.append((state, name, row.field))
        if state.can_answer:
            settings = _APPLIED if wanted is None else keys.settings_of(f for f in wanted[vm] if not f.endswith("*"))
            settings |= {"services"} if wanted is not None and "services:*" in wanted[vm] else set()
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
            note_answer(state, name, value)
    return states


def read_all(
    targets: Iterable[Target], fields: Mapping[str, Collection[str]] | None = None
) -> tuple[dict[str, VMState], dict[str, VMInterfaceError]]:
    """Return the state of each of *targets*, whatever their stores, and why some have none, both by VM name.

    *fields* as for :func:`read`; all stores are asked at once. A VM writes as it likes, and costs nobody else an answer
    by it: its error takes the place of its state. Raises the XenStore's faults.
    """
    states: dict[str, VMState] = {}
    faults: dict[str, VMInterfaceError] = {}

    def look(group: Sequence[Target]) -> None:
        for vm, one in read(group, None if fields is None else {t.vm: fields[t.vm] for t in group}).items():
            if one.error is None:
                states[vm] = one
            else:
                faults[vm] = one.error

    groups.run(by_store(targets), look, lambda left: None)
    return states, dict(sorted(faults.items()))


def observe(
    targets: Targets,
    vms: Iterable[str],
    settings: Mapping[str, VMSettings] = MappingProxyType({}),
    fields: Collection[str] | None = None,
) -> tuple[dict[str, VMState], dict[str, VMInterfaceError]]:
    """Return the state of each of *vms* that runs, as :func:`read_all`; those that cannot be met are errors too."""
    errors: dict[str, VMInterfaceError] = {}
    states: dict[str, VMState] = {}
    for part in targets.waves(vms):
        found = targets.find(part, settings, errors)
        some, faults = read_all(found.values(), None if fields is None else dict.fromkeys(found, fields))
        states.update(some)
        errors.update(faults)
    return states, dict(sorted(errors.items()))


def _take(state: VMState, name: str, field_: str, value: bytes) -> None:
    # A drifted spelling never hides the true one.
    if field_ not in state.texts or name == keys.for_field(field_).name:
        state.texts[field_] = decode(value)


def _take_all(state: VMState, wanted: Collection[str] | None) -> None:
    """Read a whole store that is one VM's own."""
    state.can_answer = True
    base = state.target.base
    fields: dict[str, str] = {}

    def keep(path: str) -> bool:
        name = path[len(base) :]
        if name in _ANSWERS:
            return True
        row = keys.for_name(name)
        if row is not None and (wanted is None or _matters(row.field, wanted)) and len(fields) <= KEYS_MAX:
            fields[path] = row.field
        return path in fields or name == "name"

    held = cast(QubesDB, state.target.store).tree(base.rstrip("/") or "/", keep=keep)
    if len(fields) > KEYS_MAX or sum(map(len, held.values())) > BYTES_MAX:
        raise StoreError(f"{base}: more than {KEYS_MAX} keys or {BYTES_MAX} bytes of fields")
    state.afresh = f"{base}name" not in held
    for path, value in held.items():
        if (name := path[len(base) :]) in _ANSWERS:
            note_answer(state, name, value)
        elif path in fields:
            _take(state, name, fields[path], value)


def note_answer(state: VMState, name: str, untrusted_value: bytes | None) -> None:
    """Take what the VM wrote under *name*, a key below ``vminterface``; what does not parse counts as not said."""
    setting = name.rpartition("/")[2]
    try:
        if name == keys.AGENT:
            state.agent = None if untrusted_value is None else Announcement.parse(decode(untrusted_value))
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
_ANSWERS = {keys.AGENT, *map(keys.acknowledgement, _APPLIED)}
_FOLDERS = [row.name[:-2] for row in keys.TABLE if row.family]


def _matters(field_: str, wanted: Collection[str]) -> bool:
    return field_ in wanted or field_.partition(":")[0] + ":*" in wanted


def _whole_settings(fields: Collection[str]) -> set[str]:
    settings = keys.settings_of(fields)
    return {*fields, *(row.field for row in keys.TABLE if row.setting in settings)}


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
