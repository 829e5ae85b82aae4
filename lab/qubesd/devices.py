"""The devices that VMs get at their start: ``admin.vm.device.*``, and the kinds that a VM denies.

No VM of a lab offers devices, so that a VM to which one is assigned as required cannot start.
"""

from __future__ import annotations

import re
from dataclasses import replace

from lab.qubesd.assignment import ANY, Assignment
from lab.qubesd.errors import Refused, Unanswered, invalid
from lab.qubesd.propertychanges import set_property
from lab.qubesd.system import System

#: Classes of devices: two of qubesd itself, and those of the packages that add more.
CLASSES = ("block", "mic", "pci", "usb")
#: Modes in which a device may be assigned.
MODES = ("ask-to-attach", "auto-attach", "required")
_PAIR = re.compile(r"(_?[A-Za-z0-9_-]+)='((?:[^'\\]|\\.)*)'(?: |$)")
_DENIED = "devices_denied"


def assigned(system: System, vm: str, device_class: str, which: str) -> str:
    """Return the assignments of a class, one a line; *which*: those of this ``BACKEND+PORT``. Raises Unanswered."""
    found = _of_class(system, vm, device_class)
    if which:
        backend, plus, port = which.partition("+")
        found = [one for one in found if plus and (one.backend, one.port) == (backend, port)]
        if not plus or len(found) > 1:
            raise Unanswered(f"{which}: not the port of one device")
    return "".join(f"{one.render()}\n" for one in sorted(found, key=Assignment.key))


def assign(system: System, vm: str, device_class: str, which: str, payload: bytes) -> None:
    """Assign a device. Raises Refused, Unanswered."""
    new = _assignment(system, device_class, which, payload)
    _check_class(system, vm)
    if any(one.key() == new.key() for one in _of_class(system, vm, device_class)):
        sentence = f"{device_class} device {new} already assigned to {vm}"
        raise Refused("DeviceAlreadyAssigned", sentence)
    if new.mode not in MODES:
        raise Unanswered("Only auto-attachable devices can be assigned.")
    system.qubes[vm].assignments.append(new)
    for event in ("pre-assign", "assign"):
        system.events.fire(vm, f"device-{event}:{device_class}", device=new, options=new.options)


def unassign(system: System, vm: str, device_class: str, which: str) -> None:
    """Take an assignment back. Raises Refused, Unanswered."""
    desired = _assignment(system, device_class, which, b"")
    _check_class(system, vm)
    for one in _of_class(system, vm, device_class):
        if one.key() == desired.key():
            system.qubes[vm].assignments.remove(one)
            system.events.fire(vm, f"device-unassign:{device_class}", device=one)
            return
    raise Refused("DeviceNotAssigned", f"{device_class} device {desired} not assigned to {vm}")


def set_mode(system: System, vm: str, device_class: str, which: str, payload: bytes) -> None:
    """Give an assignment another mode. Raises Refused, Unanswered."""
    mode = payload.decode("ascii", "replace")
    if mode not in MODES:
        raise Unanswered(f"{mode}: not a mode")
    desired = _assignment(system, device_class, which, b"")
    assignments = system.qubes[vm].assignments
    for number, one in enumerate(assignments):
        if (one.device_class, one.key()) == (device_class, desired.key()):
            if one.mode != mode:
                system.events.fire(vm, f"device-pre-assign:{device_class}", device=one, options=one.options)
                assignments[number] = replace(one, mode=mode)
                system.events.fire(vm, f"device-assignment-changed:{device_class}", device=one)
            return
    raise invalid(f"Device {desired} not assigned to {vm}")


def check_available(system: System, vm: str) -> None:
    """Raise Refused where a VM is to start and a device that it requires is not offered."""
    for one in system.qubes[vm].assignments:
        if one.mode == "required":
            raise Refused("QubesException", f"{one.device_class.capitalize()} device {one} not available")


def denied(system: System, vm: str) -> str:
    """Return the kinds of devices that a VM denies, one a line, the last without its end."""
    return "\n".join(_kinds(system.value(vm, _DENIED) or ""))


def deny(system: System, vm: str, payload: bytes) -> None:
    """Deny more kinds of devices. Raises Refused, Unanswered."""
    new = _unique(_kinds(_ascii(payload)))
    set_property(system, vm, _DENIED, (system.value(vm, _DENIED) or "") + "".join(new))


def allow(system: System, vm: str, payload: bytes) -> None:
    """Deny fewer kinds, none with ``all``. Raises Refused, Unanswered."""
    held, text = _kinds(system.value(vm, _DENIED) or ""), _ascii(payload)
    gone = held if text == "all" else _unique(_kinds(text))
    left = [kind for kind in held if kind not in gone]
    if left != held:
        set_property(system, vm, _DENIED, "".join(left))


def _of_class(system: System, vm: str, device_class: str) -> list[Assignment]:
    return [one for one in system.qubes[vm].assignments if one.device_class == device_class]


def _check_class(system: System, vm: str) -> None:
    if system.qubes[vm].klass == "RemoteVM":
        raise Refused("QubesException", "This qube doesn't support devices")


def _assignment(system: System, device_class: str, which: str, payload: bytes) -> Assignment:
    """Read ``BACKEND+PORT:DEVICE``, and what a client says of the device. Raises Unanswered."""
    backend, plus, identity = which.partition("+")
    port, _, device_id = identity.replace("+", ":").partition(":")
    backend, port, device_id = (ANY if part == "_" else part for part in (backend, port, device_id))
    if not plus or (backend != ANY and backend not in system.qubes):
        raise Unanswered(f"{which}: not a device")
    named = {"backend_domain": backend, "port_id": port, "devclass": device_class}
    pairs = dict(_pairs(_ascii(payload)))
    options = {key[1:]: pairs.pop(key) for key in list(pairs) if key.startswith("_")}
    mode, frontend = pairs.pop("mode", "manual"), pairs.pop("frontend_domain", "")
    given = pairs.pop("device_id", device_id or ANY)
    if any(named.get(key) != value for key, value in pairs.items()) or (device_id not in ("", ANY, given)):
        raise Unanswered(f"{which}: another device than the one that is described")
    if mode not in (*MODES, "manual") or (frontend and frontend not in system.qubes):
        raise Unanswered(f"{which}: mode or frontend_domain cannot be")
    return Assignment(device_class, backend, port, given, mode, frontend, options)


def _pairs(text: str) -> list[tuple[str, str]]:
    found, rest = [], text.strip()
    while rest:
        if (pair := _PAIR.match(rest)) is None:
            raise Unanswered(f"{rest!r}: not a property of a device")
        found.append((pair[1], pair[2].replace("\\'", "'")))
        rest = rest[pair.end() :].lstrip()
    return found


def _kinds(text: str) -> list[str]:
    if len(text) % 7:
        raise invalid(f"Invalid length of interfaces={text!r} (is {len(text)}, expected multiple of 7)")
    return [text[start : start + 7] for start in range(0, len(text), 7)]


def _unique(kinds: list[str]) -> list[str]:
    if len(set(kinds)) != len(kinds):
        raise invalid("Duplicated device interfaces in payload.")
    return kinds


def _ascii(payload: bytes) -> str:
    try:
        return payload.decode("ascii")
    except UnicodeDecodeError as error:
        raise Unanswered(str(error)) from error
