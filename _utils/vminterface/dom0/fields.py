"""How each field of a VM in the pillar is read: from YAML values to the exact text of the keys."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vminterface import keys
from vminterface.errors import InvalidValue, printable, printable_value
from vminterface.values import flags, resolvers, searchdomains
from vminterface.values.address import parse_ipv4
from vminterface.values.client import Client, Clients
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.values.network import ClientNetwork, ProviderNetwork
from vminterface.values.persistence import Persistence
from vminterface.values.service import ServiceName, ServiceState
from vminterface.values.timezone import Timezone
from vminterface.values.vmconfig import ConfigName
from vminterface.values.vmname import VMName, parse_default_user
from vminterface.values.vmtype import VMType

#: The word that means: the key shall not exist, the VM uses its own default.
DEFAULT = "default"
#: Of a network: whether a running VM is attached anew for another address.
REATTACH = "reattach"
#: Of a network: whether another VM is meant to have the same address.
SHARED_IP = "shared_ip"


def suggest(name: Any, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` where a known name is near, else the list of what is known."""
    known = sorted(known)
    near = nearest(name, known)
    return f" (did you mean '{near[0]}'?)" if near else f" (expected one of: {', '.join(known)})"


def nearest(name: Any, known: Iterable[str]) -> list[str]:
    """Return the known name that is near, if there is one."""
    return difflib.get_close_matches(printable_value(name), sorted(known), n=1)


def yaml_text(value: Any) -> str:
    """Return *value* if it is text. Raises InvalidValue that says what YAML made of it instead."""
    if isinstance(value, str):
        return value
    shown = printable_value(value)
    kind = {bool: "the boolean", int: "the number", float: "the number"}.get(type(value), f"a {type(value).__name__}:")
    raise InvalidValue(f"expected text, found {kind} {shown} (quote it where text is meant)")


class Collector:
    """Takes the texts of one pillar field, or its faults with their paths."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.desired: dict[str, str | None] = {}
        #: Fields whose default, if there is one, does not count for this VM.
        self.taken_back: set[str] = set()
        #: What it says of how its keys are pushed.
        self.options: dict[str, bool] = {}
        self.faults: list[InvalidValue] = []

    def fault(self, message: str, *below: str) -> None:
        """Note a fault at the field's path, or *below* it."""
        self.faults.append(InvalidValue(message, ":".join([self.where, *(printable(b, 60) for b in below if b)])))


Reader = Callable[[str, Any, Collector], None]


def _scalar(render: Callable[[Any], str]) -> Reader:
    """A field with one key: *render* makes its text of the YAML value, or raises InvalidValue."""

    def read(name: str, value: Any, into: Collector) -> None:
        if value == DEFAULT:
            into.desired[name] = None
            return
        try:
            into.desired[name] = render(value)
        except InvalidValue as error:
            into.fault(str(error), error.where)

    return read


def _word(parse: Callable[[str], Any]) -> Callable[[Any], str]:
    return lambda value: parse(yaml_text(value)).render()


def _base_template(value: Any) -> str:
    text = yaml_text(value)
    return VMName.parse(text).render() if text else ""


def _keyboard(name: str, value: Any, into: Collector) -> None:
    """A layout such as ``pl+dvorak``: today's key, and the keymap text that R2 and R3 agents read."""
    if value == DEFAULT:
        into.desired.update({"keyboard": None, "keymap": None})
        return
    try:
        layout = KeyboardLayout.parse(yaml_text(value))
    except InvalidValue as error:
        into.fault(str(error))
        return
    into.desired.update({"keyboard": layout.render(), "keymap": layout.keymap().render()})


def _keymap(name: str, value: Any, into: Collector) -> None:
    _scalar(lambda v: Keymap.parse(yaml_text(v)).render())(name, value, into)


def _services(name: str, value: Any, into: Collector) -> None:
    if not isinstance(value, Mapping):
        into.fault(f"expected a mapping of service names to on, off or default, found {type(value).__name__}")
        return
    for service, state in value.items():
        try:
            member = ServiceName.parse(yaml_text(service)).render()
        except InvalidValue as error:
            into.fault(str(error), printable_value(service))
            continue
        try:
            if state is None:
                into.taken_back.add(f"services:{member}")
            else:
                into.desired[f"services:{member}"] = ServiceState.from_word(state).key_text()
        except InvalidValue as error:
            into.fault(str(error), member)


def _vm_config(name: str, value: Any, into: Collector) -> None:
    if not isinstance(value, Mapping):
        into.fault(f"expected a mapping of names to texts or {DEFAULT}, found {type(value).__name__}")
        return
    for key, text in value.items():
        try:
            member = ConfigName.parse(yaml_text(key)).render()
            if text is None:
                into.taken_back.add(f"{name}:{member}")
            else:
                into.desired[f"{name}:{member}"] = None if text == DEFAULT else keys.parse_config(yaml_text(text))
        except InvalidValue as error:
            into.fault(str(error), printable_value(key))


def _listed(name: str, what: str, limit: int, parse: Callable[[str], Any], value: Any, into: Collector) -> list[str]:
    """Return the texts of a list, each of which *parse* takes; its faults, and none of it, where one is wrong."""
    if isinstance(value, str) or not isinstance(value, list | tuple):
        into.fault(f"expected a list of at most {limit} {what}, found {type(value).__name__}", name)
        return []
    if len(value) > limit:
        into.fault(f"expected at most {limit} {what}, found {len(value)}", name)
        return []
    texts, right = [], True
    for i, one in enumerate(value):
        try:
            texts.append(yaml_text(one))
            parse(texts[-1])
        except InvalidValue as error:
            right = False
            into.fault(str(error), name, str(i))
    return texts if right else []


def _dns(name: str, value: Any, into: Collector) -> dict[str, str]:
    """``dns: [primary, secondary, …]``: two of IPv4 have keys of their own; what these do not say is told as a whole.

    A provider has these two alone.
    """
    of_client = name == "network"
    limit, parse = (resolvers.LIMIT, resolvers.parse_resolver) if of_client else (2, parse_ipv4)
    texts = _listed("dns", "addresses", limit, parse, value, into)
    told = dict(zip(("primary_dns", "secondary_dns"), (t for t in texts if ":" not in t), strict=False))
    return told if texts == list(told.values()) else {**told, "all_dns": " ".join(texts)}


def _dns_search(name: str, value: Any, into: Collector) -> dict[str, str]:
    """``dns_search: [corp.example.org, …]``: one text; none where the list is empty."""
    texts = _listed("dns_search", "domains", searchdomains.LIMIT, searchdomains.parse_domain, value, into)
    return {"dns_search": " ".join(texts)} if texts else {}


def _connected(name: str, value: Any, into: Collector) -> dict[str, str]:
    """``connected: [{ip: …, mac: …, vif: …}]``: a provider's clients, declared whole."""
    if not isinstance(value, list | tuple):
        into.fault(f"expected a list of clients, found {type(value).__name__}", "connected")
        return {}
    clients, before = [], len(into.faults)
    for i, raw in enumerate(value):
        if not isinstance(raw, Mapping):
            into.fault(f"expected a mapping (ip, mac, vif), found {type(raw).__name__}", "connected", str(i))
            continue
        texts: dict[str, str] = {}
        for key, text in raw.items():
            try:
                if key not in ("ip", "mac", "vif"):
                    raise InvalidValue(f"unknown field{suggest(key, ('ip', 'mac', 'vif'))}")
                texts[key] = yaml_text(text)
            except InvalidValue as error:
                into.fault(str(error), "connected", str(i), printable_value(key))
        if len(texts) == len(raw):
            try:
                clients.append(Client.of(**{"ip": "", **texts}))
            except InvalidValue as error:
                into.fault(str(error), "connected", str(i), error.where)
    if len(into.faults) > before:
        return {}
    try:
        return {"connected": str(Clients.of(clients))}
    except InvalidValue as error:
        for fault in error.faults:
            into.fault(str(fault), "connected", fault.where)
        return {}


def _network(kind: type[ClientNetwork] | type[ProviderNetwork], render: Callable[[Any], dict[str, str]]) -> Reader:
    def read(name: str, value: Any, into: Collector) -> None:
        known = [row.field.partition(":")[2] for row in keys.TABLE if row.field.startswith(f"{name}:")]
        pillar_names = ["dns", *(k for k in known if not k.endswith("_dns"))]
        pillar_names += [*NETWORK_OPTIONS] if name == "network" else []
        if value is False or value in ("none", DEFAULT):
            FIELDS.remove_group(name, into.desired)
            return
        if not isinstance(value, Mapping):
            into.fault(f"expected a mapping ({', '.join(pillar_names)}) or none, found {type(value).__name__}")
            return
        texts: dict[str, str] = {}
        unreadable: set[str] = set()
        for key, raw in value.items():
            before = len(into.faults)
            if key not in pillar_names:
                into.fault(f"unknown field{suggest(key, pillar_names)}", printable_value(key))
                # It is not missing, but misspelt.
                unreadable.update(nearest(key, pillar_names))
            elif raw is None or (key == "dns" and raw == DEFAULT):
                continue
            elif key in _LISTS and raw != DEFAULT:
                texts.update(_LISTS[key](name, raw, into))
            elif raw == DEFAULT and key in kind.NEEDED:
                into.fault(f"a network needs an address here (expected one; for no network at all {name}: none)", key)
            elif raw == DEFAULT and key not in NETWORK_OPTIONS:
                into.desired[f"{name}:{key}"] = None
            else:
                try:
                    if key in NETWORK_OPTIONS:
                        into.options[key] = flags.from_word(raw)
                    else:
                        number = key == "netmask" and type(raw) is int
                        texts[key] = printable_value(raw) if number else yaml_text(raw)
                except InvalidValue as error:
                    into.fault(str(error), key)
            if len(into.faults) > before:
                unreadable.add("all_dns" if key == "dns" else printable_value(key))
        try:
            rendered = render(kind.parse(texts, unreadable))
        except InvalidValue as error:
            for fault in error.faults:
                into.fault(str(fault), "dns" if fault.where == "all_dns" else fault.where)
        if into.faults:
            return
        # A list is declared whole: what is not in it must not stay behind.
        for key in ("dns", "dns_search"):
            if value.get(key) is not None:
                into.desired.update({f"{name}:{k}": None for k in known if k == key or k.endswith(f"_{key}")})
        into.desired.update({f"{name}:{key}": text for key, text in rendered.items()})

    return read


#: What a network says of how it is pushed, and of what it means; no keys.
NETWORK_OPTIONS = (REATTACH, SHARED_IP)
_LISTS: Mapping[str, Callable[[str, Any, Collector], dict[str, str]]] = {
    "dns": _dns,
    "dns_search": _dns_search,
    "connected": _connected,
}


class _Fields(dict[str, Reader]):
    def remove_group(self, group: str, desired: dict[str, str | None]) -> None:
        """Let none of the keys of *group* exist."""
        desired.update({row.field: None for row in keys.TABLE if row.field.startswith(f"{group}:")})


#: Every field of a VM in the pillar that says something about keys.
FIELDS = _Fields(
    {
        "type": _scalar(_word(VMType.parse)),
        "updateable": _scalar(lambda v: flags.render_true_false(flags.from_word(v))),
        "persistence": _scalar(_word(Persistence.parse)),
        "base_template": _scalar(_base_template),
        "default_user": _scalar(lambda v: parse_default_user(yaml_text(v))),
        "timezone": _scalar(_word(Timezone.parse)),
        "keyboard": _keyboard,
        "keymap": _keymap,
        "debug": _scalar(lambda v: flags.render_one_zero(flags.from_word(v))),
        "services": _services,
        "vm_config": _vm_config,
        "network": _network(ClientNetwork, lambda network: network.render()),
        "provides_network": _network(ProviderNetwork, lambda network: network.with_defaults().render()),
    }
)
