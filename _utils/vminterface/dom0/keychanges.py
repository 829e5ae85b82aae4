"""A VM's changes of fields as operations on its keys, in an order that never leaves it with half a network.

What is written is read back in the same batch, and so in the same transaction where the store has them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from vminterface import keys
from vminterface.channel.store import KeyStore, Operation, Read, Remove, Write
from vminterface.dom0 import state
from vminterface.dom0.targets import Target
from vminterface.errors import KeyNotFound, VerificationFailed, VMInterfaceError, VMNotRunning
from vminterface.values.acknowledgement import PENDING

#: By group, the field by whose key a VM sees that the rest of its group is there.
_FLAGS = {"network": "network:ip", "provides_network": "provides_network:network"}

Texts = Mapping[str, str | None]


def put(
    store: KeyStore, target: Target, texts: Texts, held: Mapping[str, str], unacknowledged: Collection[str] = ()
) -> None:
    """Give the VM's fields these *texts*, None for no key, and read them back; *held* is what its fields have now.

    The acknowledgements of the settings *unacknowledged* are taken away first, so that those which come are to this.
    Raises VMNotRunning where the VM has stopped, VerificationFailed, and the store's errors.
    """
    check_there(store, target)
    writes = [
        *(Write(target.path(keys.acknowledgement(setting)), PENDING.encode()) for setting in sorted(unacknowledged)),
        *_operations(store, target, texts, held),
    ]
    read = [(field, text, target.path(name)) for field, text in texts.items() for name in _names(field, text)]
    outcomes = store.batch([*writes, *(Read(path) for _, _, path in read)])
    for operation, outcome in zip(writes, outcomes, strict=False):
        if isinstance(outcome, VMInterfaceError) and not (
            isinstance(operation, Remove) and isinstance(outcome, KeyNotFound)
        ):
            raise outcome
    for (field, text, _), value in zip(read, outcomes[len(writes) :], strict=True):
        if isinstance(value, VMInterfaceError) and not isinstance(value, KeyNotFound):
            raise value
        if text != (None if isinstance(value, KeyNotFound) else state.decode(value)):
            raise VerificationFailed(f"{target.vm}: {field} does not hold what was written")


def gone_meanwhile(store: KeyStore, fields: Collection[str]) -> set[str]:
    """Return the fields whose keys are not there while *fields* change: flags, where there are no transactions."""
    groups = set() if store.has_transactions else {field.partition(":")[0] for field in fields}
    return {flag for group, flag in _FLAGS.items() if group in groups}


def check_there(store: KeyStore, target: Target) -> None:
    """Raise VMNotRunning if the VM has stopped: nobody would remove what is written for it in the XenStore then."""
    if store.channel == "xenstore" and not store.exists(target.path("name")):
        raise VMNotRunning(f"{target.vm} has stopped while it was given its settings")


def _operations(store: KeyStore, target: Target, texts: Texts, held: Mapping[str, str]) -> list[Operation]:
    """Return what brings *texts* about. Without transactions a group's flag is gone while the group changes."""
    texts = dict(texts)
    operations: list[Operation] = []
    for flag in gone_meanwhile(store, texts) & held.keys():
        operations.append(Remove(target.path(keys.for_field(flag).name)))
        texts.setdefault(flag, held[flag])
    for field, text in sorted(texts.items(), key=_turn):
        for path in map(target.path, _names(field, text)):
            operations.append(Remove(path) if text is None else Write(path, text.encode("utf-8", "surrogateescape")))
    return operations


def _names(field: str, text: str | None) -> tuple[str, ...]:
    """Return the keys that *text* goes to; where there is to be none, the names too under which it would be read."""
    row = keys.for_field(field)
    return (row.name, *row.drift) if text is None else (row.name,)


def _turn(change: tuple[str, str | None]) -> tuple[bool, bool]:
    """Return what sorts changes: a flag is gone before the keys that it speaks of, and there after them."""
    field, text = change
    flag = field in _FLAGS.values()
    return (flag and text is not None, not flag)
