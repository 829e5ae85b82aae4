"""How each field of a VM in the pillar is read: from YAML to the typed values of the keys."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vminterface import keys
from vminterface.errors import InvalidValue, kind_of, printable, printable_value
from vminterface.keys import DEFAULT
from vminterface.values import (
    address,
    client,
    flags,
    keyboard,
    resolvers,
    schema,
    searchdomains,
    service,
    servicecatalogue,
    timezone,
    vmconfig,
    vmname,
)
from vminterface.values.address import parse_ipv4
from vminterface.values.client import Client, Clients
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.values.network import PARSERS, ClientNetwork, ProviderNetwork
from vminterface.values.persistence import Persistence
from vminterface.values.resolvers import Resolvers
from vminterface.values.schema import Schema
from vminterface.values.searchdomains import SearchDomains
from vminterface.values.service import ServiceName, ServiceState
from vminterface.values.timezone import Timezone
from vminterface.values.vmconfig import ConfigName
from vminterface.values.vmname import VMName, parse_default_user
from vminterface.values.vmtype import VMType

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


#: What YAML makes of a word that is not quoted.
_SCALARS = {bool: "the boolean", int: "the number", float: "the number"}


def yaml_text(value: Any) -> str:
    """Return *value* if it is text. Raises InvalidValue, which names what YAML made of it instead."""
    if isinstance(value, str):
        return value
    if (kind := _SCALARS.get(type(value))) is None:  # quotes would make no sense of it
        raise InvalidValue(f"is of type {kind_of(value)} (expected text)")
    raise InvalidValue(f"is {kind} {printable_value(value)} (expected text: quote it)")


class Collector:
    """Takes the values of one pillar field, or its faults with their paths."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.desired: dict[str, Any] = {}
        #: Values of fields that no key has.
        self.persistent: dict[str, Any] = {}
        #: Fields whose default, if there is one, does not count for this VM.
        self.taken_back: set[str] = set()
        #: What it says of how its keys are pushed.
        self.options: dict[str, bool] = {}
        self.errors: list[InvalidValue] = []

    def error(self, message: str, *below: str) -> None:
        """Note a fault at the field's path, or *below* it."""
        self.errors.append(InvalidValue(message, ":".join([self.where, *(printable(b, 60) for b in below if b)])))


Reader = Callable[[str, Any, Collector], None]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the pillar: what it does, how it is read, and the schema of its form; a null is none of that."""

    does: str
    read: Reader
    schema: Schema


def or_default(form: Schema) -> Schema:
    """Return the schema of *form* and the word ``default``."""
    return schema.any_of(schema.one_of(DEFAULT), form)


def _scalar(does: str, parse: Callable[[Any], Any], form: Schema) -> Field:
    """A field with one key: *parse* makes its value of the YAML value, of that *form*, or raises InvalidValue."""

    def read(name: str, value: Any, into: Collector) -> None:
        if value == DEFAULT:
            into.desired[name] = None
            return
        try:
            into.desired[name] = parse(value)
        except InvalidValue as error:
            into.error(str(error), error.where)

    return Field(does, read, or_default(form))


def _word(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: parse(yaml_text(value))


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
        into.error(str(error))
        return
    into.desired.update({"keyboard": layout, "keymap": layout.keymap()})


def _services(name: str, value: Any, into: Collector) -> None:
    if not isinstance(value, Mapping):
        into.error(f"is of type {kind_of(value)} (expected a mapping of service names to on, off or default)")
        return
    for key, state in value.items():
        try:
            member = ServiceName.parse(yaml_text(key)).render()
        except InvalidValue as error:
            into.error(str(error), printable_value(key))
            continue
        try:
            if state is None:
                into.taken_back.add(f"services:{member}")
            else:
                desired = ServiceState.from_word(state)
                into.desired[f"services:{member}"] = None if desired is ServiceState.DEFAULT else desired
        except InvalidValue as error:
            into.error(str(error), member)


def _vm_config(name: str, value: Any, into: Collector) -> None:
    if not isinstance(value, Mapping):
        into.error(f"is of type {kind_of(value)} (expected a mapping of names to texts or {DEFAULT})")
        return
    for key, text in value.items():
        try:
            member = ConfigName.parse(yaml_text(key)).render()
            if text is None:
                into.taken_back.add(f"{name}:{member}")
            else:
                into.desired[f"{name}:{member}"] = None if text == DEFAULT else keys.parse_config(yaml_text(text))
        except InvalidValue as error:
            into.error(str(error), printable_value(key))


def _listed(name: str, what: str, limit: int, parse: Callable[[str], Any], value: Any, into: Collector) -> list[Any]:
    """Return the values of a list, each of which *parse* takes; its faults, and none of it, where one is wrong."""
    if isinstance(value, str) or not isinstance(value, list | tuple):
        into.error(f"is of type {kind_of(value)} (expected a list of at most {limit} {what})", name)
        return []
    if len(value) > limit:
        into.error(f"{len(value)} {what} are too many (expected at most {limit})", name)
        return []
    found = []
    for i, one in enumerate(value):
        try:
            found.append(parse(yaml_text(one)))
        except InvalidValue as error:
            into.error(str(error), name, str(i))
    return found if len(found) == len(value) else []


def _dns(name: str, value: Any, into: Collector) -> dict[str, Any]:
    """``dns: [primary, secondary, …]``: two of IPv4 have keys of their own; what these cannot hold is in one more key.

    A provider has these two alone.
    """
    of_client = name == "network"
    limit, parse = (resolvers.LIMIT, resolvers.parse_resolver) if of_client else (2, parse_ipv4)
    members = _listed("dns", "addresses", limit, parse, value, into)
    told = dict(zip(("primary_dns", "secondary_dns"), (one for one in members if one.version == 4), strict=False))
    return told if members == list(told.values()) else {**told, "all_dns": Resolvers(tuple(members))}


def _dns_search(name: str, value: Any, into: Collector) -> dict[str, Any]:
    """``dns_search: [corp.example.org, …]``: one text; none where the list is empty."""
    domains = _listed("dns_search", "domains", searchdomains.LIMIT, searchdomains.parse_domain, value, into)
    if not domains:
        return {}
    try:
        return {"dns_search": SearchDomains.of(domains)}
    except InvalidValue as error:
        into.error(str(error), "dns_search")
        return {}


def _connected(name: str, value: Any, into: Collector) -> dict[str, Any]:
    """``connected: [{ip: …, mac: …, vif: …}]``: a provider's clients, declared whole."""
    if not isinstance(value, list | tuple):
        into.error(f"is of type {kind_of(value)} (expected a list of clients)", "connected")
        return {}
    clients, before = [], len(into.errors)
    for i, raw in enumerate(value):
        if not isinstance(raw, Mapping):
            into.error(f"is of type {kind_of(raw)} (expected a mapping of ip, mac, vif)", "connected", str(i))
            continue
        texts: dict[str, str] = {}
        for key, text in raw.items():
            try:
                if key not in ("ip", "mac", "vif"):
                    raise InvalidValue(f"unknown field{suggest(key, ('ip', 'mac', 'vif'))}")
                texts[key] = yaml_text(text)
            except InvalidValue as error:
                into.error(str(error), "connected", str(i), printable_value(key))
        if len(texts) == len(raw):
            try:
                clients.append(Client.of(**{"ip": "", **texts}))
            except InvalidValue as error:
                into.error(str(error), "connected", str(i), error.where)
    if len(into.errors) > before:
        return {}
    try:
        return {"connected": Clients.of(clients)}
    except InvalidValue as error:
        for one in error.errors:
            into.error(str(one), "connected", one.where)
        return {}


@functools.cache
def _members(network: str) -> tuple[str, ...]:
    """Return the names of the keys that *network* has, as its fields end."""
    return tuple(row.field.partition(":")[2] for row in keys.TABLE if row.field.startswith(f"{network}:"))


def _network(kind: type[ClientNetwork] | type[ProviderNetwork]) -> Reader:
    def read(name: str, value: Any, into: Collector) -> None:
        known = _members(name)
        pillar_names = ["dns", *(k for k in known if not k.endswith("_dns"))]
        pillar_names += [*NETWORK_OPTIONS] if name == "network" else []
        if value is False or value in ("none", DEFAULT):
            FIELDS.remove_group(name, into.desired)
            return
        if not isinstance(value, Mapping):
            into.error(f"is of type {kind_of(value)} (expected a mapping of {', '.join(pillar_names)}, or none)")
            return
        values: dict[str, Any] = {}
        unreadable: set[str] = set()
        for key, raw in value.items():
            before = len(into.errors)
            if key not in pillar_names:
                into.error(f"unknown field{suggest(key, pillar_names)}", printable_value(key))
                # It is not missing, but misspelt.
                unreadable.update(nearest(key, pillar_names))
            elif raw is None or (key == "dns" and raw == DEFAULT):
                continue
            elif key in _LISTS and raw != DEFAULT:
                values.update(_LISTS[key](name, raw, into))
            elif raw == DEFAULT and key in kind.NEEDED:
                into.error(f"a network needs an address (to remove the network, use {name}: none)", key)
            elif raw == DEFAULT and key not in NETWORK_OPTIONS:
                into.desired[f"{name}:{key}"] = None
            else:
                try:
                    if key in NETWORK_OPTIONS:
                        into.options[key] = flags.from_word(raw)
                    else:
                        number = key == "netmask" and type(raw) is int
                        values[key] = PARSERS[key](printable_value(raw) if number else yaml_text(raw))
                except InvalidValue as error:
                    into.error(str(error), key)
            if len(into.errors) > before:
                unreadable.add("all_dns" if key == "dns" else printable_value(key))
        try:
            network = kind.of(values, unreadable)
        except InvalidValue as error:
            for one in error.errors:
                into.error(str(one), "dns" if one.where == "all_dns" else one.where)
        if into.errors:
            return
        # A list is declared whole: what is not in it must not stay behind.
        for key in ("dns", "dns_search"):
            if value.get(key) is not None:
                into.desired.update({f"{name}:{k}": None for k in known if k == key or k.endswith(f"_{key}")})
        if isinstance(network, ProviderNetwork):
            network = network.with_defaults()
        into.desired.update({f"{name}:{key}": one for key, one in network.values().items()})

    return read


#: What a network says of how it is pushed, and of what it means; no keys.
NETWORK_OPTIONS = (REATTACH, SHARED_IP)
_LISTS: Mapping[str, Callable[[str, Any, Collector], dict[str, Any]]] = {
    "dns": _dns,
    "dns_search": _dns_search,
    "connected": _connected,
}


def _network_schema(name: str, kind: type[ClientNetwork] | type[ProviderNetwork]) -> Schema:
    """Return the form of a network's mapping."""
    members: dict[str, Schema] = {}
    for row in keys.TABLE:
        group, _, key = row.field.partition(":")
        if group != name or key.endswith("_dns"):
            continue
        form = _NETWORK_SCHEMAS[key]
        members[key] = form if key in kind.NEEDED else schema.any_of(or_default(form), schema.NULL)
    of_client = name == "network"
    dns = resolvers.SCHEMA if of_client else schema.listed(address.IPV4, most=2)
    members["dns"] = schema.any_of(or_default(dns), schema.NULL)
    if of_client:
        members |= dict.fromkeys(NETWORK_OPTIONS, schema.any_of(flags.SCHEMA, schema.NULL))
    return schema.any_of(schema.mapping(members, needed=kind.NEEDED), schema.one_of("none", DEFAULT), schema.FALSE)


#: The form of each field of either network.
_NETWORK_SCHEMAS: Mapping[str, Schema] = {
    "ip": address.IPV4,
    "netmask": schema.any_of(address.NETMASK, schema.number(1, 32)),
    "gateway": address.IPV4,
    "network": address.IPV4,
    "dns_search": searchdomains.SCHEMA,
    "mac": address.MAC_SCHEMA,
    "ip6": address.IPV6,
    "gateway6": address.IPV6,
    "connected": schema.listed(client.SCHEMA),
}


#: What is in the table of services and no key can be called.
_NO_NAMES = ("app-dispvm.ID", "getty@tty")
_SERVICE_SCHEMA = schema.any_of(service.STATE_SCHEMA, schema.NULL)
_SERVICES_SCHEMA = schema.named(
    _SERVICE_SCHEMA,
    names=ServiceName.SCHEMA,
    known={
        name: schema.described(_SERVICE_SCHEMA, one.does)
        for name, one in servicecatalogue.KNOWN.items()
        if name not in _NO_NAMES
    },
)
_CONFIG_SCHEMA = schema.named(
    schema.any_of(schema.text("[ -~]*", most=keys.CONFIG_LIMIT), schema.NULL), names=vmconfig.SCHEMA
)


class _Fields(dict[str, Field]):
    def remove_group(self, group: str, desired: dict[str, Any]) -> None:
        """Let none of the keys of *group* exist."""
        desired.update({row.field: None for row in keys.TABLE if row.field.startswith(f"{group}:")})


#: Every field of a VM in the pillar that says something about keys.
FIELDS = _Fields(
    {
        "type": _scalar("is the kind of VM", _word(VMType.parse), schema.one_of(*(one.value for one in VMType))),
        "updateable": _scalar("sets whether the root volume survives a restart", flags.from_word, flags.SCHEMA),
        "persistence": _scalar(
            "sets which volumes survive a restart",
            _word(Persistence.parse),
            schema.one_of(*(one.value for one in Persistence)),
        ),
        "base_template": _scalar(
            "is the template that the VM is based on, or empty text",
            _base_template,
            schema.any_of(schema.one_of(""), vmname.SCHEMA),
        ),
        "default_user": _scalar("is the user that programs run as", _word(parse_default_user), vmname.USER_SCHEMA),
        "timezone": _scalar("is the time zone, such as Europe/Warsaw", _word(Timezone.parse), timezone.SCHEMA),
        "keyboard": Field(
            "is the keyboard's layout+variant+options, such as pl+dvorak", _keyboard, or_default(keyboard.LAYOUT_SCHEMA)
        ),
        "keymap": _scalar(
            "is the source of a keymap, for a layout of your own", _word(Keymap.parse), keyboard.KEYMAP_SCHEMA
        ),
        "debug": _scalar("switches the debug mode on or off", flags.from_word, flags.SCHEMA),
        "services": Field("switches services of the VM on or off", _services, _SERVICES_SCHEMA),
        "vm_config": Field("are texts for programs of your own: keys vm-config/NAME", _vm_config, _CONFIG_SCHEMA),
        "network": Field(
            "is the VM's network as a client", _network(ClientNetwork), _network_schema("network", ClientNetwork)
        ),
        "provides_network": Field(
            "is the network that the VM provides to others",
            _network(ProviderNetwork),
            _network_schema("provides_network", ProviderNetwork),
        ),
    }
)
