"""What a running VM's network hangs on beside its keys: the addresses with which qubesd has attached it.

The provider lets through what comes from these alone, so that another ``/qubes-ip`` cuts the VM off. A VM with the
feature ``net.fake-ip`` sees another address than the one that is routed. Sources: Qubes core-admin ``vm/mix/net.py``,
core-agent-linux ``vif-route-qubes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vminterface import keys
from vminterface.dom0.desired.settings import Desired, VMSettings
from vminterface.dom0.desired.words import FIREWALL, NETVM
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.dom0.push.persist.features import in_effect
from vminterface.dom0.push.persist.firewall import StoredFirewall
from vminterface.errors import InvalidValue, KeyNotFound, VMInterfaceError, printable
from vminterface.keys import DEFAULT
from vminterface.values.change import Change
from vminterface.values.network import HOST

#: The properties with which a VM is attached, by the field of the key that shows them to the VM.
PROPERTIES = {"network:ip": "ip", "network:ip6": "ip6", "network:mac": "mac"}
#: What the names of features begin with by which a VM is shown something else.
FAKE = "net.fake-"
#: The features by which qubesd shows a VM something else, by field.
FAKES = {
    "network:ip": "net.fake-ip",
    "network:gateway": "net.fake-gateway",
    "network:netmask": "net.fake-netmask",
}
OVERWRITTEN = (
    "qubesd puts the rules of its own store there when the VM starts, its netvm is set or its firewall is reloaded "
    "(persist: true stores these in qubesd)"
)


@dataclass(frozen=True, slots=True)
class Pin:
    """A field that a running VM has as it was attached, until qubesd attaches it anew."""

    #: What it is then; None: unknown.
    value: Any
    #: Why nothing else can be asked for.
    why: str = ""
    #: Whether the VM is only shown it, and attached with something else.
    fake: bool = False

    def is_for(self, value: Any) -> bool:
        """Whether *value*, which is not None, is what the VM has then."""
        return bool(self.value == value)


@dataclass(slots=True)
class Routed:
    """Facts from qubesd about one VM that the push of its keys depends on."""

    pins: dict[str, Pin] = field(default_factory=dict)
    #: Whether this push attaches the VM anew, if it runs and one of these fields differs, so that they change at once.
    attached_anew: bool = False
    #: The address with which the VM is attached where it is shown another one.
    hidden_ip: str | None = None
    #: The firewall that qubesd holds, where it is to hold another one.
    stored: StoredFirewall | None = None

    def is_fake(self, name: str) -> bool:
        """Whether qubesd shows the VM something else as the field *name* than it keeps."""
        return name in self.pins and self.pins[name].fake

    def changed(self, changes: Mapping[str, Change[Any]]) -> bool:
        """Whether one of *changes* is of a field for which the VM has to be attached anew."""
        return any(name in changes for name in self.pins)

    def put_off(
        self, settings: VMSettings, values: Mapping[str, Any], changes: dict[str, Change[Any]]
    ) -> tuple[VMSettings, dict[str, Any]]:
        """Take from *changes* what waits until the running VM is attached anew; *values* are those of its keys.

        Return *settings*, with the firewall of the address that the VM has until then, and what it has, by field.
        """
        if self.attached_anew:
            return settings, {}
        old = {name: values[name] for name, pin in self.pins.items() if name in values and not pin.is_for(values[name])}
        # The others are refused.
        waiting = {
            name: old[name]
            for name in old.keys() & changes.keys()
            if (new := changes[name].new) is not None and self.pins[name].is_for(new)
        }
        for name in waiting:
            del changes[name]
        if settings.firewall is not None and settings.firewall.of_network:
            ip, ip6 = (None if self.is_fake(n) else old.get(n) for n in ("network:ip", "network:ip6"))
            settings = replace(settings, firewall=settings.firewall.at(ip=ip, ip6=ip6))
        return settings, waiting

    def check(self, settings: VMSettings, changes: Mapping[str, Change[Any]]) -> None:
        """Raise InvalidValue where one of *changes* asks for what the VM cannot have."""
        for name, pin in self.pins.items():
            new = changes[name].new if name in changes else None
            if new is not None and not pin.is_for(new):
                raise InvalidValue(f"{settings.vm}: {name}: {pin.why}")

    def check_halted(self, settings: VMSettings) -> None:
        """Raise InvalidValue where *settings* ask for what the VM cannot have at its next start."""
        known = [name for name, pin in self.pins.items() if pin.value is not None]
        self.check(settings, {name: Change(None, settings.desired.get(name)) for name in known})


def read(qubesd: Qubesd, settings: VMSettings) -> tuple[VMSettings, Routed, tuple[str, ...]]:
    """Read the network of a VM from qubesd. Return *settings* with the consequences for them, and notes about these.

    Raises as AdminAPI does. A qubesd that is stopped is asked nothing, unless it is to keep something.
    """
    routed, firewall = Routed(), settings.firewall
    asked_for = dict(settings.desired)
    if firewall is not None and firewall.of_network:
        # Its addresses count also where the network itself is no part of this push.
        own = {"network:ip": firewall.ip, "network:ip6": firewall.ip6}
        asked_for = {**{name: address for name, address in own.items() if address is not None}, **asked_for}
    if qubesd.available or settings.persist:
        settings = _pin_fakes(qubesd, settings, asked_for, routed)
        firewall = settings.firewall
    for name in PROPERTIES:
        if (value := asked_for.get(name)) is not None and name not in routed.pins:
            _pin_address(qubesd, settings, name, value, routed)
    if firewall is None:
        return settings, routed, ()
    remarks = _elsewhere(qubesd, settings, firewall.netvm)
    if not settings.persist:
        return settings, routed, (*remarks, OVERWRITTEN)
    stored = StoredFirewall.read(qubesd, settings.vm, firewall)
    routed.stored = None if stored.right else stored
    return settings, routed, remarks


def _elsewhere(qubesd: Qubesd, settings: VMSettings, netvm: str) -> tuple[str, ...]:
    """Return the note where the rules go to *netvm*, and the VM's packets to another provider or nowhere.

    Raises the errors of AdminAPI for settings that qubesd is to keep; others do without it.
    """
    vm, provider = settings.vm, settings.netvm
    try:
        if provider is None and qubesd.available:
            provider = _property(qubesd, vm, FIREWALL, NETVM)
        elif provider == DEFAULT:
            provider = qubesd.call(vm, FIREWALL, "property netvm", lambda api: api.property_default(vm, NETVM))
    except VMInterfaceError:
        if settings.persist:
            raise
    if provider is None or provider == netvm:
        return ()
    return (f"the rules in {netvm} have no effect, as qubesd has {provider or 'none'} as the VM's netvm",)


def _pin_fakes(qubesd: Qubesd, settings: VMSettings, asked_for: Desired, routed: Routed) -> VMSettings:
    """Note what the VM is shown in place of what it is attached with. Return *settings* with what follows for them."""
    vm, desired, firewall = settings.vm, dict(settings.desired), settings.firewall
    for name, feature in FAKES.items():
        if (value := asked_for.get(name)) is None or not (fake := in_effect(qubesd, settings, name, feature)):
            continue
        if name == "network:netmask" and value == HOST:
            # The pillar need not name it.
            del desired[name]
            continue
        shown = printable(fake, 60)
        why = f"the VM sees {shown}, because of its feature {feature} (expected {shown}, or another feature)"
        routed.pins[name] = Pin(keys.read_value(name, fake), why, fake=True)
        if name == "network:ip":
            routed.hidden_ip = _property(qubesd, vm, name, "ip")
            if firewall is not None and firewall.of_network:
                firewall = firewall.at(ip=keys.read_value(name, routed.hidden_ip or ""))
    return replace(settings, desired=desired, firewall=firewall)


def _pin_address(qubesd: Qubesd, settings: VMSettings, name: str, value: Any, routed: Routed) -> None:
    """Note what the VM is attached with at its next start as its field *name*, for which *value* is asked."""
    what = PROPERTIES[name]
    if settings.persist:
        routed.pins[name] = Pin(value)
    elif not qubesd.available:
        why = f"the VM may be attached with another {what} (expected qubesd, which knows it, to run)"
        routed.pins[name] = Pin(None, why)
    elif (held := _property(qubesd, settings.vm, name, what)) is not None:
        shown = held or "none"
        why = (
            f"qubesd has attached the VM with {shown} (property {what}), so the provider would block {value} as"
            f" spoofed (expected {shown}, or persist: true)"
        )
        routed.pins[name] = Pin(keys.read_value(name, held), why)


def _property(qubesd: Qubesd, vm: str, name: str, what: str) -> str | None:
    try:
        return qubesd.call(vm, name, f"property {what}", lambda api: api.property(vm, what)).value
    except KeyNotFound:
        return None
