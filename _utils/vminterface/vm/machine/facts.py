"""What this VM is, in dom0's words: its type, name, way out to the network, and services."""

from __future__ import annotations

from typing import Any

from vminterface import keys
from vminterface.channel.store import KeyStore, List, Read
from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.values.service import ServiceName, ServiceState
from vminterface.values.vmtype import VMType

_FIELDS = {"name": "name", "type": "type", "class": "class", "ip": "network:ip", "gateway": "network:gateway"}
_SERVICES = "qubes-service"


def read(store: KeyStore) -> dict[str, Any]:
    """Return ``type``, ``name``, ``class``, ``ip``, ``gateway`` and ``services`` (``{NAME: True or False}``).

    What dom0 did not set, or what is not valid, is left out; {} where this is not a VM. Raises the store's errors
    if it cannot be spoken to.
    """
    names = {fact: store.home + keys.for_field(field).name for fact, field in _FIELDS.items()}
    shared = not store.per_vm
    asked = store.batch([*([Read("domid")] if shared else []), *map(Read, names.values())])
    if shared and asked.pop(0) in (b"0",):
        return {}  # dom0 itself
    facts: dict[str, Any] = {}
    for fact, value in zip(names, asked, strict=True):
        if isinstance(value, bytes):
            try:
                text = value.decode("ascii")
                keys.for_field(_FIELDS[fact]).parse(text)
            except (UnicodeDecodeError, InvalidValue):
                continue
            facts[fact] = text
    if ("type" not in facts and "class" not in facts) or VMType.ADMIN_VM.value in (
        facts.get("type"),
        facts.get("class"),
    ):
        return {}
    facts["services"] = _services(store, store.home + _SERVICES)
    return facts


def _services(store: KeyStore, folder: str) -> dict[str, bool]:
    listing = store.batch([List(folder)])[0]
    names = [] if isinstance(listing, VMInterfaceError) else sorted(listing)
    found = {}
    for name, value in zip(names, store.batch([Read(f"{folder}/{name}") for name in names]), strict=True):
        if isinstance(value, bytes):
            try:
                state = ServiceState.from_key(value.decode("ascii", "replace"))
                found[ServiceName.parse(name).text] = state is ServiceState.ON
            except InvalidValue:
                continue
    return found
