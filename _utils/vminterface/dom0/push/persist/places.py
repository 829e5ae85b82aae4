"""Where qubesd keeps a field of a VM: in a feature or in a property, and how its texts become the values of keys.

Sources: Qubes core-admin, its extensions ``services`` and ``vm_config``, and the setters of ``QubesVM``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from vminterface import keys
from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.desired.persistent import UPDATE_CHECK, feature_of
from vminterface.dom0.desired.words import NETVM
from vminterface.errors import InvalidValue
from vminterface.values import feature, featurecatalogue, featurekind, vmproperty
from vminterface.values.keyboard import KeyboardLayout
from vminterface.values.service import ServiceState
from vminterface.values.unreadable import Unreadable


@dataclass(frozen=True, slots=True)
class Held:
    """What qubesd has of a field, as the value of its key."""

    #: None: nobody has set it.
    set_to: Any
    #: What counts: ``set_to``, or the default where nothing is set; None: nothing.
    in_effect: Any


class Place(Protocol):
    """Where qubesd keeps one field. Values are those of the field's key; None lets qubesd forget it."""

    @property
    def words(self) -> str:
        """What the admin knows it as: ``feature service.cups``."""
        ...

    @property
    def parse(self) -> Callable[[str], Any]:
        """From qubesd's text to a value."""
        ...

    @property
    def render(self) -> Callable[[Any], str]:
        """From a value to qubesd's text."""
        ...

    def check(self, value: Any) -> None:
        """Raise InvalidValue for a value that qubesd does not take, or takes and stumbles over later."""

    def read(self, api: AdminAPI, vm: str) -> Held:
        """Return what qubesd has. Raises the errors of AdminAPI."""
        ...

    def write(self, api: AdminAPI, vm: str, value: Any) -> None:
        """Let qubesd keep *value*. Raises the errors of AdminAPI; qubesd may have stored it nevertheless."""


#: qubesd makes property ``maxmem`` of this service's feature and deletes the feature, so it is never sent there.
MEMINFO_WRITER = "services:meminfo-writer"


@dataclass(frozen=True, slots=True)
class Feature:
    """A field that is a feature of the VM; *parse* and *render* lead from its text to the key's value and back."""

    name: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str]

    @property
    def words(self) -> str:
        return f"feature {self.name}"

    def check(self, value: Any) -> None:
        feature.check(self.name, self.render(value))

    def read(self, api: AdminAPI, vm: str) -> Held:
        text = api.feature(vm, self.name)
        value = None if text is None else self.parse(text)
        return Held(value, value)

    def write(self, api: AdminAPI, vm: str, value: Any) -> None:
        api.set_feature(vm, self.name, None if value is None else self.render(value))


@dataclass(frozen=True, slots=True)
class Property:
    """A field that is a property of the VM; *accept* raises InvalidValue for a value that its setter refuses."""

    name: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str]
    accept: Callable[[Any], None] = lambda value: None
    #: Whether qubesd writes the field's key at each start of the VM.
    written_at_start: bool = False

    @property
    def words(self) -> str:
        return f"property {self.name}"

    def check(self, value: Any) -> None:
        self.accept(value)

    def read(self, api: AdminAPI, vm: str) -> Held:
        held = api.property(vm, self.name)
        value = self.parse(held.value)
        return Held(None if held.default else value, value)

    def write(self, api: AdminAPI, vm: str, value: Any) -> None:
        api.set_property(vm, self.name, None if value is None else self.render(value))

    def at_start(self, api: AdminAPI, vm: str, *, persistent: bool) -> Any:
        """Return what the key holds after a start if nothing is set; without *persistent*, with what is set now."""
        text = api.property_default(vm, self.name) if persistent else api.property(vm, self.name).value
        return self.parse(text) if text else None


def _as_key(field: str) -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """Return what reads and writes a text that has the form of the field's key."""
    return partial(keys.read_value, field), lambda value: keys.text_of(field, value) or ""


def _of_qubesd(
    parse: Callable[[str], Any], render: Callable[[Any], str]
) -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """Return what reads and writes a text that has no key; one that is not valid is written back as it was."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except InvalidValue:
            return Unreadable(text)

    return read, lambda value: value.text if isinstance(value, Unreadable) else render(value)


def _one_layout(value: KeyboardLayout) -> None:
    if "," in value.layout:
        raise InvalidValue(
            f"qubesd stores one layout, not '{value.layout}' (expected letters, then +VARIANT+OPTIONS; with persist:"
            " false several are pushed to the running VM only)"
        )


_PLACES: dict[str, Place] = {
    "timezone": Feature("vm-config.vminterface-timezone", *_as_key("timezone")),
    "keyboard": Property("keyboard_layout", *_as_key("keyboard"), accept=_one_layout, written_at_start=True),
    "debug": Property("debug", lambda text: text == "True", str, written_at_start=True),
    "default_user": Property("default_user", *_as_key("default_user"), written_at_start=True),
    "network:ip": Property("ip", *_as_key("network:ip")),
    "network:ip6": Property("ip6", *_as_key("network:ip6"), written_at_start=True),
    "network:mac": Property("mac", *_as_key("network:mac"), written_at_start=True),
    "network:all_dns": Feature("vm-config.vminterface-dns", *_as_key("network:all_dns")),
    "network:dns_search": Feature("vm-config.vminterface-dns-search", *_as_key("network:dns_search")),
    NETVM: Property(NETVM, str, str),
    **{name: Property(name, *_of_qubesd(one.parse, one.render)) for name, one in vmproperty.KNOWN.items()},
}


def place_of(field: str) -> Place | None:
    """Return where qubesd keeps *field*; None where it keeps none of it."""
    group, _, member = field.partition(":")
    if field == MEMINFO_WRITER:
        return None
    if name := feature_of(field):
        return Feature(name, *_of_qubesd(featurecatalogue.kind_of(name).parse, featurekind.render))
    if group == "services":
        return Feature(
            "check-updates" if field == UPDATE_CHECK else f"service.{member}",
            lambda text: ServiceState.ON if text else ServiceState.OFF,
            lambda value: "1" if value is ServiceState.ON else "",
        )
    if group == "vm_config":
        return Feature(f"vm-config.{member}", *_as_key(field))
    return _PLACES.get(field)
