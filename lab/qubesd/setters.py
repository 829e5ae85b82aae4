"""What the properties of VMs take, each kind in which normal form; the sentences are qubesd's own."""

from __future__ import annotations

import ipaddress
import re
import string

from lab.qubesd.errors import Refused, Unanswered, invalid, unsuitable
from lab.qubesd.names import check_name
from lab.qubesd.system import LABELS, Setter, System


def text_setter(system: System, vm: str, value: str) -> str:
    """Take printable ASCII and blanks."""
    if not set(string.printable).issuperset(value):
        raise invalid("Invalid characters in property value")
    return value


def bool_setter(system: System, vm: str, value: str) -> str:
    """Take what stands for yes or no."""
    text_setter(system, vm, value)
    if value.lower() in ("1", "yes", "true", "on"):
        return "True"
    if value.lower() in ("0", "no", "false", "off"):
        return "False"
    raise invalid("Invalid literal for boolean property: %r", value)


def int_setter(name: str, least: int | None) -> Setter:
    def setter(system: System, vm: str, value: str) -> str:
        try:
            number = int(value)
        except ValueError:
            raise invalid("Failed to parse property value as int") from None
        if least is not None and number < least:
            raise unsuitable("%s must be positive%s", name, "" if least else " or zero")
        return str(number)

    return setter


def vm_setter(name: str, *, none: bool = True, klass: str = "") -> Setter:
    """Return a setter that takes a VM's name, with *none* an empty text too, with *klass* VMs of that class alone."""

    def setter(system: System, vm: str, value: str) -> str:
        if value == "":
            if none:
                return ""
            raise unsuitable("Invalid value None for property %r of <%s %s>", name, system.qubes[vm].klass, vm)
        check_name(value)
        if value not in system.qubes:
            raise unsuitable("Can't set %s to non-existing qube %s", name, value)
        if klass and system.qubes[value].klass != klass:
            found = system.qubes[value].klass
            raise unsuitable("wrong VM class: domains[%r] is of type %s and not %s", value, found, klass)
        return value

    return setter


def netvm_setter(system: System, vm: str, value: str) -> str:
    if (name := vm_setter("netvm")(system, vm, value)) == "":
        return ""
    check_netvm(system, vm, name)
    return name


def check_netvm(system: System, vm: str, netvm: str) -> None:
    """Raise Refused unless *netvm* can provide the network of *vm*, Unanswered for dom0, which has no such property."""
    if "provides_network" not in system.definitions(netvm):
        raise Unanswered(f"{netvm} has no property provides_network")
    if system.value(netvm, "provides_network") != "True":
        raise invalid("The %s qube does not provide network", netvm)
    seen, current = set[str](), netvm
    while current and current not in seen:
        if current == vm:
            raise invalid("Loops in network are unsupported")
        seen.add(current)
        current = system.reference(current, "netvm")


def provides_setter(system: System, vm: str, value: str) -> str:
    text = bool_setter(system, vm, value)
    if text == "False" and any(system.connected(vm)):
        raise invalid("The qube is still used by other qubes, change theirs 'netvm' first")
    return text


def address_setter(family: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> Setter:
    def setter(system: System, vm: str, value: str) -> str:
        try:
            return str(family(value))
        except ValueError:
            raise invalid("Failed to parse property value as %s", family.__name__) from None

    return setter


def mac_setter(system: System, vm: str, value: str) -> str:
    mac = text_setter(system, vm, value).lower()
    if not re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac):
        # A plain ValueError there, of which a client learns nothing.
        raise Unanswered("Invalid MAC address value")
    return mac


def matching_setter(pattern: str, message: str) -> Setter:
    def setter(system: System, vm: str, value: str) -> str:
        if not re.fullmatch(pattern, text_setter(system, vm, value)):
            raise unsuitable(message)
        return value

    return setter


def keyboard_setter(system: System, vm: str, value: str) -> str:
    parts = text_setter(system, vm, value).split("+")
    if len(parts) != 3:
        raise unsuitable("invalid number of keyboard layout parameters")
    checks = (
        ("[A-Za-z]+", "keyboard layout"),
        ("[A-Za-z0-9-_]*", "layout variant"),
        ("[A-Za-z0-9-_:,]*", "layout options"),
    )
    for part, (pattern, what) in zip(parts, checks, strict=True):
        if not re.fullmatch(pattern, part):
            raise unsuitable("Invalid %s provided", what)
    return value


def kernel_setter(system: System, vm: str, value: str) -> str:
    if "/" in text_setter(system, vm, value):
        raise unsuitable("Kernel name cannot contain '/'")
    return value


def kernelopts_setter(system: System, vm: str, value: str) -> str:
    if len(text_setter(system, vm, value)) > 512:
        raise unsuitable("Kernelopts value too long (512 chars max)")
    return value


def denied_setter(system: System, vm: str, value: str) -> str:
    """Take kinds of devices; they are kept in their order, each once."""
    if len(text_setter(system, vm, value)) % 7:
        raise invalid(f"Invalid length of interfaces={value!r} (is {len(value)}, expected multiple of 7)")
    kinds = "".join(sorted({value[start : start + 7] for start in range(0, len(value), 7)}))
    if not re.fullmatch(r"([bump*][0-9a-f*]{6})*", kinds):
        raise unsuitable(
            "Interface code list should be in the form chhhhhhchhhhhh...,"
            'where c is one of "b", "u", "m", "p", "*" and h is a hexdigit or "*".'
        )
    return kinds


def virt_mode_setter(system: System, vm: str, value: str) -> str:
    mode = text_setter(system, vm, value).lower()
    if mode not in ("hvm", "pv", "pvh"):
        raise unsuitable("Invalid virtualization mode, supported values: hvm, pv, pvh")
    if mode == "pvh" and system.has_pci(vm):
        raise unsuitable("pvh mode can't be set if pci devices are assigned")
    return mode


def label_named(value: str) -> str:
    """Return the name of a label that is given as its name or its number. Raises Refused."""
    if value in LABELS:
        return value
    if value.isdigit() and 1 <= int(value) <= len(LABELS):
        return list(LABELS)[int(value) - 1]
    raise Refused("QubesLabelNotFoundError", "Label does not exist: %s", value)


def label_setter(system: System, vm: str, value: str) -> str:
    return label_named(text_setter(system, vm, value))
