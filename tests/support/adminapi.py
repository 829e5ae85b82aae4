"""A qubesd for one VM in a test's memory: features and properties at the interface of the Admin API's client.

The lab's qubesd speaks the protocol and does what the real one does with a change; this one keeps what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vminterface.channel.adminapi import AdminAPI, Line, Property
from vminterface.dom0.inventory.qubesd import Qubesd
from vminterface.errors import KeyNotFound, VMInterfaceError

T = TypeVar("T")
#: What a property is that nobody has set.
DEFAULTS = {
    "keyboard_layout": "us++",
    "debug": "False",
    "default_user": "user",
    "ip": "10.137.0.12",
    "ip6": "",
    "mac": "00:16:3e:5e:6c:00",
    "netvm": "sys-net",
    "memory": "400",
    "maxmem": "4000",
    "guivm": "dom0",
    "provides_network": "False",
    "template": "fedora",
}


class MemoryAPI(AdminAPI):
    """The client. ``calls`` has what was set, in turn; what ``fails`` has by name is raised by setting that.

    Of a name in ``stores`` too the value is kept nevertheless, as where qubesd fails at acting on it.
    """

    def __init__(self, **properties: str) -> None:
        super().__init__(None, Line("", 10.0))
        self.features: dict[str, str] = {}  # type: ignore[assignment]  # of one VM, there is no other
        self.of_template: dict[str, str] = {}
        self.properties = dict(properties)
        self.defaults = dict(DEFAULTS)
        self.calls: list[tuple[str, str | None]] = []
        self.asked: list[tuple[str, str]] = []
        self.fails: dict[str, VMInterfaceError] = {}
        self.unreadable: dict[str, VMInterfaceError] = {}
        self.stores: set[str] = set()
        #: The rules; and what qubesd makes of those that it is given.
        self.rules = b"action=accept\n"
        self.takes: Callable[[bytes], bytes] = lambda rules: rules

    def feature(self, vm: str, name: str) -> str | None:
        self._ask(vm, name)
        return self.features.get(name)

    def feature_with_template(self, vm: str, name: str) -> str | None:
        self._ask(vm, name)
        template = self.properties.get("template", self.defaults.get("template"))
        return {**self.of_template, **({} if vm == template else self.features)}.get(name)

    def set_feature(self, vm: str, name: str, value: str | None) -> None:
        self._set(vm, self.features, name, value)

    def property(self, vm: str, name: str) -> Property:
        self._ask(vm, name)
        if name not in self.defaults and name not in self.properties:
            raise KeyNotFound(name)
        return Property(self.properties.get(name, self.defaults.get(name, "")), name not in self.properties)

    def property_default(self, vm: str, name: str) -> str:
        self._ask(vm, name)
        return self.defaults[name]

    def set_property(self, vm: str, name: str, value: str | None) -> None:
        self._set(vm, self.properties, name, value)

    def firewall_get(self, vm: str) -> bytes:
        self._ask(vm, "firewall")
        return self.rules

    def firewall_set(self, vm: str, rules: bytes) -> None:
        assert isinstance(vm, str), vm
        self.calls.append(("firewall", rules.decode("utf-8", "surrogateescape")))
        error = self.fails.pop("firewall", None)
        if error is None or "firewall" in self.stores:
            self.rules = self.takes(rules)
        if error is not None:
            raise error

    def _ask(self, vm: str, name: str) -> None:
        assert isinstance(vm, str), vm
        self.asked.append((vm, name))
        if name in self.unreadable:
            raise self.unreadable[name]

    def _set(self, vm: str, held: dict[str, str], name: str, value: str | None) -> None:
        assert isinstance(vm, str), vm
        self.calls.append((name, value))
        error = self.fails.pop(name, None)
        if error is None or name in self.stores:
            if value is None:
                held.pop(name, None)
            else:
                held[name] = value
        if error is not None:
            raise error


class MemoryQubesd(Qubesd):
    """The connection of a run to *api*; *available*: whether qubesd runs, *expected*: whether the host has one."""

    def __init__(self, api: MemoryAPI, *, available: bool = True, expected: bool = True) -> None:
        super().__init__()
        self.api = api
        self.__dict__.update(available=available, expected=expected)

    def connect(self, timeout: float | None = None) -> AdminAPI:
        return self.api

    def call(self, vm: str, field: str, thing: str, ask: Callable[[AdminAPI], T]) -> T:
        assert all(isinstance(word, str) for word in (vm, field, thing))
        return super().call(vm, field, thing, ask)
