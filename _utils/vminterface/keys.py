"""The one table of keys: what each is called, what its value may be, and when it may exist.

A key has the same name on both channels: XenStore has it below the domain's own path (``qubes-timezone``), QubesDB
below ``/`` (``/qubes-timezone``). Sources: the ``VMInterface`` document for R2 and R3, Qubes core-admin
``create_qdb_entries`` for what later releases added. ``field`` is the path in the pillar below the VM's name.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from vminterface.errors import InvalidValue, printable
from vminterface.value import Value
from vminterface.values import address, flags, vmname
from vminterface.values.client import Clients
from vminterface.values.keyboard import KeyboardLayout, Keymap
from vminterface.values.persistence import Persistence
from vminterface.values.resolvers import Resolvers
from vminterface.values.searchdomains import SearchDomains
from vminterface.values.service import ServiceState, hash_of, hashed_app
from vminterface.values.timezone import Timezone
from vminterface.values.unreadable import Unreadable
from vminterface.values.vmtype import VMType

#: The pillar's word that means: the key shall not exist, the VM uses its own default.
DEFAULT = "default"
#: The node that dom0 gives to the VM so that its agent can answer.
ACKNOWLEDGEMENTS = "vminterface"
#: Written by the agent while it is in work.
AGENT = f"{ACKNOWLEDGEMENTS}/agent"
#: Where dom0 marks how far it has come with writing a push.
PUSH = f"{ACKNOWLEDGEMENTS}/push"
#: By group, the field by whose key a VM sees that the rest of its group is there.
FLAGS = {"network": "network:ip", "provides_network": "provides_network:network"}


#: What the fields begin with whose keys have a hash in place of a service's name.
HASHED = "hashed:"


def acknowledgement(setting: str) -> str:
    """Return the key under which the VM's agent acknowledges *setting*."""
    return f"{ACKNOWLEDGEMENTS}/ack/{setting}"


class Condition(enum.Enum):
    """When a key may exist; when that stops being true, dom0 removes it."""

    ALWAYS = "always"
    CLIENT = "only with a netvm"
    PROVIDER = "only if the VM provides network"


def _render(value: Any) -> str:
    """Return the text of a *value* that knows its own: by ``render``, else by ``str``."""
    return str(value.render() if hasattr(value, "render") else value)


class Key(Value):
    """One row. ``name`` or ``field`` ending in ``*`` stand for a family of keys, one a member's name."""

    __slots__ = ("condition", "drift", "field", "name", "parse", "pushed", "render", "setting")

    def __init__(
        self,
        name: str,
        field: str,
        parse: Callable[[str], Any],
        setting: str = "",
        condition: Condition = Condition.ALWAYS,
        drift: tuple[str, ...] = (),
        pushed: bool = True,
        render: Callable[[Any], str] = _render,
    ) -> None:
        self.name: Final = name
        self.field: Final = field
        #: From the key's text to the typed value that is compared; raises InvalidValue.
        self.parse: Final = parse
        #: The setting that the VM's agent applies and acknowledges; empty where it only reads.
        self.setting: Final = setting
        self.condition: Final = condition
        #: Spellings found in documents or old releases: read, never written.
        self.drift: Final = drift
        #: Whether pillar settings write it; else the toolstack or qubesd does.
        self.pushed: Final = pushed
        #: From a value that is no Unreadable to the key's text.
        self.render: Final = render

    @property
    def family(self) -> bool:
        """Whether the row stands for many keys."""
        return self.name.endswith("*")

    def member(self, name: str) -> Key:
        """Return the row of one member of this family."""
        name, field = self.name[:-1] + name, self.field[:-1] + name
        return Key(name, field, self.parse, self.setting, self.condition, self.drift, self.pushed, self.render)


def _text(limit: int) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if len(text) > limit or any(not " " <= c <= "~" for c in text):
            raise InvalidValue(f"'{printable(text, 60)}' is not printable ASCII of at most {limit} characters")
        return text

    return parse


#: The text of ``vm-config/NAME``, and its characters at most.
CONFIG_LIMIT = 3071
parse_config = _text(CONFIG_LIMIT)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise InvalidValue(f"'{printable(text, 60)}' is not a decimal number")
    return int(text)


def _parse_hashed(app: str, text: str) -> ServiceState:
    """Read the key of a service by its hash, which says that it is on by the application's ID."""
    if text != app:
        raise InvalidValue(f"'{printable(text, 60)}' is not the application's ID '{app}'")
    return ServiceState.ON


def _addresses(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """Return what reads a list of addresses with blanks between."""
    return lambda text: " ".join(str(parse(one)) for one in text.split())


_NETWORK: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("ip", "qubes-ip", address.parse_ipv4),
    ("netmask", "qubes-netmask", address.parse_netmask),
    ("gateway", "qubes-gateway", address.parse_ipv4),
    ("primary_dns", "qubes-primary-dns", address.parse_ipv4),
    ("secondary_dns", "qubes-secondary-dns", address.parse_ipv4),
    ("mac", "qubes-mac", address.parse_mac),
    ("ip6", "qubes-ip6", address.parse_ipv6),
    ("gateway6", "qubes-gateway6", address.parse_ipv6),
)
_PROVIDER: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("gateway", "qubes-netvm-gateway", address.parse_ipv4),
    ("netmask", "qubes-netvm-netmask", address.parse_netmask),
    # A network in R2 and R3, the gateway's own address in R4: an IPv4 address either way.
    ("network", "qubes-netvm-network", address.parse_ipv4),
    ("primary_dns", "qubes-netvm-primary-dns", address.parse_ipv4),
    ("secondary_dns", "qubes-netvm-secondary-dns", address.parse_ipv4),
    ("gateway6", "qubes-netvm-gateway6", address.parse_ipv6),
    # Ours: R4's connected-ips holds addresses alone, and the firewall's worker there would stumble over more.
    ("connected", "qubes-netvm-connected", Clients.parse),
)

TABLE: tuple[Key, ...] = (
    Key("name", "name", vmname.VMName.parse, "name", pushed=False),
    Key("qubes-vm-type", "type", VMType.parse),
    Key("type", "class", VMType.parse, pushed=False),
    Key("qubes-vm-updateable", "updateable", flags.parse_true_false, drift=("qubes-vm-updatable",)),
    Key("qubes-vm-persistence", "persistence", Persistence.parse),
    Key("qubes-base-template", "base_template", _text(31)),
    Key("default-user", "default_user", vmname.parse_default_user),
    Key("qubes-timezone", "timezone", Timezone.parse, "timezone"),
    # Ours: qubesd gives it to the VM at each start (feature vm-config.vminterface-timezone), so it goes first.
    Key("vm-config/vminterface-timezone", "lasting:timezone", Timezone.parse, "timezone"),
    Key("keyboard-layout", "keyboard", KeyboardLayout.parse, "keyboard"),
    Key("qubes-keyboard", "keymap", Keymap.parse, "keyboard"),
    Key("qubes-debug-mode", "debug", flags.parse_one_zero, "debug", render=flags.render_one_zero),
    Key("qubes-service/*", "services:*", ServiceState.from_key, "services", render=ServiceState.render),
    # Services with names that are too long for a key; read as members of ``services``.
    Key("hash-app-dispvm/*", f"{HASHED}*", _text(255), pushed=False),
    *(Key(name, f"network:{f}", parse, "network", Condition.CLIENT) for f, name, parse in _NETWORK),
    # Ours: all resolvers where the two keys are not all of them, so it goes before these.
    Key("vm-config/vminterface-dns", "network:all_dns", Resolvers.parse, "network", Condition.CLIENT),
    Key("vm-config/vminterface-dns-search", "network:dns_search", SearchDomains.parse, "network", Condition.CLIENT),
    *(Key(name, f"provides_network:{f}", parse, "provider", Condition.PROVIDER) for f, name, parse in _PROVIDER),
    Key("qubes-gui-enabled", "gui_enabled", flags.parse_true_false, pushed=False),
    Key("qubes-gui-domain-xid", "gui_domain_xid", _number, pushed=False),
    Key("qubes-gui-videoram-min", "gui_videoram_min", _number, pushed=False),
    Key("qubes-gui-videoram-overhead", "gui_videoram_overhead", _number, pushed=False),
    Key("qubes-audio-domain-xid", "audio_domain_xid", _number, pushed=False),
    Key("guivm-windows-prefix", "windows_prefix", _text(255), pushed=False),
    Key("vm-config/*", "vm_config:*", parse_config),
    # Written by qubesd: of features custom-persist.NAME; in a relay, of VMs of other hosts; in an AudioVM, where the
    # microphone is attached; in a provider, its clients.
    Key("persist/*", "persist:*", _text(3071), pushed=False),
    Key("remote/*", "remote:*", _text(255), pushed=False),
    Key("audio-input-config/*", "audio_input:*", flags.parse_one_zero, pushed=False, render=flags.render_one_zero),
    Key("connected-ips", "connected_ips", _addresses(address.parse_ipv4), pushed=False),
    Key("connected-ips6", "connected_ips6", _addresses(address.parse_ipv6), pushed=False),
)

#: Rows by field; families under their ``*``.
BY_FIELD: Mapping[str, Key] = {key.field: key for key in TABLE}
_BY_NAME: Mapping[str, Key] = {name: key for key in TABLE for name in (key.name, *key.drift)}


@functools.lru_cache(maxsize=4096)
def for_field(field: str) -> Key:
    """Return the row of *field* (``timezone``, ``network:ip``, ``services:cups``). Raises InvalidValue."""
    if (key := BY_FIELD.get(field)) is not None and not key.family:
        return key
    group, colon, member = field.partition(":")
    if group == "services" and (app := hashed_app(member)):
        name = f"hash-app-dispvm/{hash_of(app)}"
        return Key(name, field, functools.partial(_parse_hashed, app), render=lambda on: app)
    family = BY_FIELD.get(f"{group}:*")
    if family is None or not colon or not member:
        raise InvalidValue(f"unknown field '{printable(field, 80)}'")
    return family.member(member)


def is_field(field: str) -> bool:
    """Return whether *field* has a row; a field without a key, such as ``persistent:timezone``, has none."""
    try:
        for_field(field)
    except InvalidValue:
        return False
    return True


@functools.lru_cache(maxsize=4096)
def for_name(name: str) -> Key | None:
    """Return the row of the key called *name* (without a leading slash), None for a key that is not in the table."""
    if (key := _BY_NAME.get(name)) is not None and not key.family:
        return key
    folder, slash, member = name.partition("/")
    family = _BY_NAME.get(f"{folder}/*")
    return family.member(member) if family is not None and slash and member and "/" not in member else None


def read_value(field: str, untrusted_text: str) -> Any:
    """Return the value that *untrusted_text* is as *field*, Unreadable where it is none."""
    try:
        return _parsed(field, untrusted_text)
    except InvalidValue:
        return Unreadable(untrusted_text)


@functools.lru_cache(maxsize=1024)
def _parsed(field: str, untrusted_text: str) -> Any:
    # Most VMs hold the same texts. An error is not kept: a time zone may be installed later.
    return for_field(field).parse(untrusted_text)


def text_of(field: str, value: Any) -> str | None:
    """Return the text of *value*, one that *field* can have or Unreadable; None for None, an absent key."""
    if value is None:
        return None
    return value.text if isinstance(value, Unreadable) else for_field(field).render(value)


def inputs_of(setting: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Return those of *texts* (by field) that *setting* is made of: what its acknowledgement's digest is taken of."""
    return {field: text for field, text in texts.items() if for_field(field).setting == setting}


def settings_of(fields: Iterable[str]) -> set[str]:
    """Return the settings that an agent applies when *fields* change."""
    return {setting for field in fields if (setting := for_field(field).setting)}
