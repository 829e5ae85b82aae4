"""Keys in the pillar's words: one entry for each field that an admin writes, with the value that the pillar would have.

Some fields have several keys (``network:dns``), and some a second one for older VMs (``keyboard``) or for the VM's next
start (``timezone``).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vminterface import keys
from vminterface.dom0.desired.shownfirewall import ShownFirewall
from vminterface.errors import printable
from vminterface.keys import DEFAULT
from vminterface.values.change import Change
from vminterface.values.client import Client, Clients
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.resolvers import Resolvers
from vminterface.values.searchdomains import SearchDomains
from vminterface.values.service import ServiceState
from vminterface.values.unreadable import Unreadable

if TYPE_CHECKING:
    from vminterface.values.vmproperty import VMProperty

#: Fields of the pillar that no key has.
NETVM = "netvm"
FIREWALL = "firewall"
MONITORS = "monitors"
#: The name of what holds the firewall in qubesd.
FIREWALL_STORE = "admin.vm.firewall"
#: Before the field of a change that lasts over the VM's restart.
PERSISTENT = "persistent:"
#: The key of the zone that qubesd gives to the VM at each start, beside the one that qubesd writes itself.
PERSISTENT_TIMEZONE = "lasting:timezone"
#: The keys of ``dns`` by its field; the last one has all of them where the others do not.
_DNS = {
    f"{group}:dns": tuple(f"{group}:{name}_dns" for name in ("primary", "secondary", "all"))
    for group in ("network", "provides_network")
}
_DNS_OF = {name: field for field, names in _DNS.items() for name in names}
#: The key without which there is no network, by the network's field.
_NEEDED = {"network": "network:ip", "provides_network": "provides_network:gateway"}
NONE = "none"
#: Characters of a value that are shown at most; a key holds 4096 bytes.
SHOWN = 4096
#: Fields of keys that share one of the pillar's.
_SHARING: Mapping[str, tuple[str, ...]] = {"keymap": ("keyboard",), **{name: _DNS[_DNS_OF[name]] for name in _DNS_OF}}


def value(field: str, one: Any) -> Any:
    """Return the value *one* of a key as the pillar has it: a word, a text, or a list."""
    field = field.removeprefix(PERSISTENT)
    match one:
        case None:
            return NONE if field == FIREWALL else DEFAULT
        case ShownFirewall():
            return one.words
        case Unreadable():
            return one.text
        case _ if (known := _property(field)) is not None:
            return known.shown(one)
        case bool():
            return "on" if one else "off"
        case ServiceState():
            return one.word()
        case KeyboardLayout():
            return one.render().rstrip("+")
        case Resolvers() | SearchDomains():
            return [str(member) for member in one.members]
        case Clients():
            return [_client(client) for client in one]
        case enum.Enum():
            return one.value
        case "" if field == NETVM:
            return NONE
    return keys.text_of(field, one) if keys.is_field(field) else one


def _property(field: str) -> VMProperty | None:
    """Return the property that *field* is, None for one that has a key or is something else."""
    if keys.is_field(field):
        return None
    from vminterface.values import vmproperty  # here, as what a store holds has none

    return vmproperty.KNOWN.get(field)


def text(field: str, one: Any) -> str:
    """Return the value *one* of a key as one line of YAML would have it, for a sentence."""
    return line(value(field, one))


def line(shown: Any) -> str:
    """Return what is *shown* of a field, a text or a list, on one line; None is what is not there."""
    if isinstance(shown, list):
        return f"[{', '.join(map(line, shown))}]"
    if isinstance(shown, dict):
        return f"{{{', '.join(f'{name}: {line(one)}' for name, one in shown.items())}}}"
    return NONE if shown is None else str(shown)


def plain(shown: Any) -> Any:
    """Return what is *shown* of a field, text or lists and mappings of it, without what a terminal would act on."""
    if isinstance(shown, list):
        return [plain(one) for one in shown]
    if isinstance(shown, dict):
        return {name: plain(one) for name, one in shown.items()}
    return printable(shown, SHOWN) if isinstance(shown, str) else shown


def fields(values: Mapping[str, Any], *, ignore_keymap: bool = False, every: bool = False) -> dict[str, Any]:
    """Return the *values* of keys by field of the pillar, sorted; unless *every*, what no pillar sets is left out.

    *ignore_keymap*: whether a keymap is ignored beside a layout, as in the QubesDB of VMs since Qubes R4.1.
    """
    found: dict[str, Any] = {}
    for name, one in values.items():
        if name in _DNS_OF:
            found[_DNS_OF[name]] = _dns(_DNS_OF[name], values)
        elif name == PERSISTENT_TIMEZONE:
            # The VM's agent takes it in place of the other one.
            found["timezone"] = value(name, one)
        elif name == "keymap" and "keyboard" in values and (ignore_keymap or _follows(one, values["keyboard"])):
            continue
        elif every or keys.for_field(name).pushed:
            found.setdefault(name, value(name, one))
    for group, needed in _NEEDED.items():
        if needed in values and values[needed] is None:
            found = {name: one for name, one in found.items() if not name.startswith(f"{group}:")} | {group: NONE}
    return dict(sorted(found.items()))


def changes(changed: Mapping[str, Change[Any]], same: Mapping[str, Any]) -> dict[str, Change[Any]]:
    """Return the changes of keys as those of the pillar's fields, in its words.

    *same* has the values of keys that stay as they are beside these (see :func:`beside`).
    """
    found: dict[str, Change[Any]] = {}
    for name, change in changed.items():
        before, field = PERSISTENT if name.startswith(PERSISTENT) else "", name.removeprefix(PERSISTENT)
        if field in _DNS_OF:
            dns = _DNS_OF[field]
            parts = {one: changed.get(before + one, Change(same.get(one), same.get(one))) for one in _DNS[dns]}
            old, new = ({one: getattr(part, when) for one, part in parts.items()} for when in ("old", "new"))
            found[before + dns] = Change(_dns(dns, old), _dns(dns, new))
        elif field == PERSISTENT_TIMEZONE:
            if not {"timezone", f"{PERSISTENT}timezone"} & changed.keys():
                found[f"{PERSISTENT}timezone"] = _in_words(field, change)
        elif name == "keymap" and _is_of_layout(change, changed, same):
            if "keyboard" not in changed:
                was = "no keymap" if change.old is None else "another keymap"
                found["keyboard"] = Change(was, value("keyboard", same["keyboard"]))
        else:
            found[name] = _in_words(field, change)
    for group, needed in _NEEDED.items():
        after = changed[needed].new if needed in changed else same.get(needed, DEFAULT)
        gone = {name: change for name, change in found.items() if name.startswith(f"{group}:")}
        if gone and after is None:
            former = {name.partition(":")[2]: change.old for name, change in gone.items()}
            found = {name: change for name, change in found.items() if name not in gone}
            found[group] = Change({name: one for name, one in former.items() if one != DEFAULT}, NONE)
    return found


def keys_of(field: str) -> tuple[str, ...]:
    """Return the fields of the keys that the pillar's *field* has. Raises InvalidValue where it has none."""
    if field in _DNS:
        return tuple(name for name in _DNS[field] if keys.is_field(name))
    if field == "timezone":
        return (field, PERSISTENT_TIMEZONE)
    return (keys.for_field(field).field,)


def names(fields: Iterable[str]) -> list[str]:
    """Return the pillar's names of *fields* of keys, each once."""
    fields = list(fields)
    found = (_DNS_OF.get(name, "timezone" if name == PERSISTENT_TIMEZONE else name) for name in fields)
    return [name for name in dict.fromkeys(found) if name != "keymap" or "keyboard" not in fields]


def beside(changed: Mapping[str, Change[Any]], desired: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of those keys of *desired* that stay as they are and share a field with one that changes."""
    names = {other for name in changed for other in _SHARING.get(name, ())}
    names |= {_NEEDED[group] for name in changed if (group := name.partition(":")[0]) in _NEEDED}
    return {name: desired[name] for name in names if name in desired and name not in changed}


def _in_words(field: str, change: Change[Any]) -> Change[Any]:
    return Change(value(field, change.old), value(field, change.new))


def _dns(field: str, values: Mapping[str, Any]) -> Any:
    """Return the list of resolvers that these values of keys are."""
    *two, every = (values.get(name) for name in _DNS[field])
    if every is not None:
        return value(field, every)
    return [value(field, one) if isinstance(one, Unreadable) else str(one) for one in two if one is not None] or DEFAULT


def _is_of_layout(keymap: Change[Any], changed: Mapping[str, Change[Any]], same: Mapping[str, Any]) -> bool:
    """Whether the new *keymap* follows from the layout that the VM is to have."""
    if "keyboard" not in changed and "keyboard" not in same:
        return False
    return _follows(keymap.new, changed["keyboard"].new if "keyboard" in changed else same["keyboard"])


def _follows(keymap: Any, layout: Any) -> bool:
    return bool(keymap == (layout.keymap() if isinstance(layout, KeyboardLayout) else None))


def _client(client: Client) -> dict[str, str]:
    parts = {"ip": client.ip, "mac": client.mac, "vif": client.vif}
    return {name: str(part) for name, part in parts.items() if part is not None}
