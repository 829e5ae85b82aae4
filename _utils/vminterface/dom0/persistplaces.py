"""Where qubesd keeps a field of a VM: in a feature or in a property, with the texts that it takes for those of the key.

Sources: Qubes core-admin, its extensions ``services`` and ``vm_config``, and the setters of ``QubesVM``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from vminterface.channel.adminapi import AdminAPI
from vminterface.dom0.settings import NETVM
from vminterface.errors import InvalidValue
from vminterface.values import feature
from vminterface.values.address import parse_ipv6, parse_mac
from vminterface.values.keyboard import KeyboardLayout


@dataclass(frozen=True, slots=True)
class Held:
    """What qubesd has of a field, as the text of its key."""

    #: None: nobody has set it.
    set_to: str | None
    #: What counts: ``set_to``, or the default where nothing is set; None: nothing.
    in_effect: str | None


class Place(Protocol):
    """Where qubesd keeps one field. Texts are those of the field's key; None lets qubesd forget it."""

    @property
    def words(self) -> str:
        """What the admin knows it as: ``feature service.cups``."""
        ...

    def check(self, text: str) -> None:
        """Raise InvalidValue for a text that qubesd does not take, or takes and stumbles over later."""

    def read(self, api: AdminAPI, vm: str) -> Held:
        """Return what qubesd has. Raises the errors of AdminAPI."""
        ...

    def write(self, api: AdminAPI, vm: str, text: str | None) -> None:
        """Let qubesd keep *text*. Raises the errors of AdminAPI; qubesd may have stored it nevertheless."""


#: qubesd makes property ``maxmem`` of this service's feature and deletes the feature, so it is never sent there.
MEMINFO_WRITER = "services:meminfo-writer"


def _same(text: str) -> str:
    return text


def _anything(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Feature:
    """A field that is a feature of the VM."""

    name: str
    render: Callable[[str], str] = _same
    parse: Callable[[str], str] = _same

    @property
    def words(self) -> str:
        return f"feature {self.name}"

    def check(self, text: str) -> None:
        feature.check(self.name, self.render(text))

    def read(self, api: AdminAPI, vm: str) -> Held:
        value = api.feature(vm, self.name)
        text = None if value is None else self.parse(value)
        return Held(text, text)

    def write(self, api: AdminAPI, vm: str, text: str | None) -> None:
        api.set_feature(vm, self.name, None if text is None else self.render(text))


@dataclass(frozen=True, slots=True)
class Property:
    """A field that is a property of the VM; *accept* raises InvalidValue for a text that its setter refuses."""

    name: str
    render: Callable[[str], str] = _same
    parse: Callable[[str], str] = _same
    accept: Callable[[str], None] = _anything
    #: Whether qubesd writes the field's key at each start of the VM.
    written_at_start: bool = False

    @property
    def words(self) -> str:
        return f"property {self.name}"

    def check(self, text: str) -> None:
        self.accept(text)

    def read(self, api: AdminAPI, vm: str) -> Held:
        held = api.property(vm, self.name)
        text = self.parse(held.value)
        return Held(None if held.default else text, text)

    def write(self, api: AdminAPI, vm: str, text: str | None) -> None:
        api.set_property(vm, self.name, None if text is None else self.render(text))

    def text_at_start(self, api: AdminAPI, vm: str, *, kept: bool) -> str | None:
        """Return what the key holds after a start if nothing is set; without *kept*, with what is set now."""
        value = api.property_default(vm, self.name) if kept else api.property(vm, self.name).value
        return self.parse(value) if value else None


def _normal(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Return what gives a text that *parse* reads the form that keys have; another text stays as it is."""

    def normal(text: str) -> str:
        try:
            return str(parse(text))
        except InvalidValue:
            return text

    return normal


def _normal_layout(text: str) -> str:
    return _normal(lambda text: KeyboardLayout.parse(text).render())(text)


def _one_layout(text: str) -> None:
    if "," in (layout := KeyboardLayout.parse(text).layout):
        raise InvalidValue(
            f"qubesd keeps one layout, not '{layout}' (expected letters, then +VARIANT+OPTIONS; with persist: false"
            " several are pushed, for the running VM alone)"
        )


_PLACES: dict[str, Place] = {
    "timezone": Feature("vm-config.vminterface-timezone"),
    "keyboard": Property("keyboard_layout", parse=_normal_layout, accept=_one_layout, written_at_start=True),
    "debug": Property(
        "debug",
        lambda text: "True" if text == "1" else "False",
        lambda text: "1" if text == "True" else "0",
        written_at_start=True,
    ),
    "default_user": Property("default_user", written_at_start=True),
    "network:ip": Property("ip"),
    "network:ip6": Property("ip6", parse=_normal(parse_ipv6), written_at_start=True),
    "network:mac": Property("mac", parse=_normal(parse_mac), written_at_start=True),
    "network:all_dns": Feature("vm-config.vminterface-dns"),
    "network:dns_search": Feature("vm-config.vminterface-dns-search"),
    NETVM: Property(NETVM),
}


def place_of(field: str) -> Place | None:
    """Return where qubesd keeps *field*; None where it keeps none of it."""
    group, _, member = field.partition(":")
    if field == MEMINFO_WRITER:
        return None
    if group == "services":
        return Feature(f"service.{member}", lambda text: "1" if text == "1" else "", lambda text: "1" if text else "0")
    if group == "vm_config":
        return Feature(f"vm-config.{member}")
    return _PLACES.get(field)
