"""The desired state of VMs as the pillar says it, parsed: every fault at once, each with its pillar path.

Only what the pillar names is managed; a field that is not there is left as it is, but for what follows from another (a
network's netmask, a layout's keymap). ``default`` (for a network: ``none``) means that the key shall not exist, so that
the VM decides; YAML's null takes a default of ``qubes:defaults`` back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from vminterface.dom0 import across
from vminterface.dom0.fields import DEFAULT, FIELDS, NETWORK_OPTIONS, REATTACH, Collector, suggest, yaml_text
from vminterface.dom0.firewallsettings import ClientFirewall
from vminterface.dom0.pillarroot import mapping, sections
from vminterface.errors import InvalidValue, InvalidValues, printable_value
from vminterface.keys import for_field
from vminterface.values import monitorsetting, quoted
from vminterface.values.monitorsetting import MonitorSetting
from vminterface.values.vmname import VMName, refuse_dom0
from vminterface.values.vmtype import VMType

#: Seconds that a push of a VM waits at most, unless the pillar says ``timeout:``.
ACKNOWLEDGE_WITHIN = 5.0
#: Part of that which a wait before anything is written may take, so that the agent has a fair part to acknowledge in.
BEFORE_WRITING = 0.5
CHANNELS = ("auto", "xenstore", "qubesdb")
NETVM = "netvm"
FIREWALL = "firewall"

Desired = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class VMSettings:
    """What dom0 wants of one VM. ``desired`` is the text of each managed field, None where the key shall not exist."""

    vm: str
    desired: Desired = field(default_factory=dict)
    channel: str = "auto"
    require_running: bool = False
    #: Seconds that are left to wait for the VM.
    timeout: float = ACKNOWLEDGE_WITHIN
    #: No key but a service call tells them; None: not managed.
    monitors: MonitorSetting | None = None
    #: Whether qubesd shall keep the settings for the VM's later starts; None: where there is a qubesd.
    persist: bool | None = None
    #: Whether a push waits for the agent's acknowledgement.
    confirm: bool = True
    #: The property ``netvm``: a VM's name, empty text for none, ``default``; None: not managed.
    netvm: str | None = None
    #: Whether qubesd attaches the network of a running VM anew for another address, instead of at its next start.
    reattach: bool = False
    #: Whether another VM is meant to have the same addresses.
    shared_ip: bool = False
    #: Kept in the store of its provider; None: not managed.
    firewall: ClientFirewall | None = None
    #: Fields of ``desired`` that the VM has of ``qubes:defaults``, and not by a word about itself.
    from_defaults: frozenset[str] = frozenset()
    #: Path of the VM in the pillar; empty text where the settings do not come from one.
    where: str = field(default="", compare=False)

    def path(self, name: str) -> str:
        """Return where the pillar has the field *name* of this VM."""
        where = self.where or self.vm
        if name in self.from_defaults and where.endswith(f":vms:{self.vm}"):
            where = f"{where.removesuffix(f':vms:{self.vm}')}:defaults"
        return f"{where}:{name.replace(':all_dns', ':dns')}"

    @classmethod
    def parse(cls, vm: str, raw: Any, *, where: str = "", defaults: Mapping[str, Any] | None = None) -> VMSettings:
        """Parse the pillar mapping *raw* of *vm* on top of *defaults*. Raises InvalidValues, paths below *where*."""
        in_pillar, where = bool(where), where or vm
        faults: list[InvalidValue] = []
        _check_name(vm, where, faults)
        # Errors of the defaults are reported once for all VMs, and must not bring others about here.
        base = _collect(defaults or {}, "", [])
        own = _collect(raw, where, faults)
        wrong = own.wrong | (base.wrong - own.given)
        if not in_pillar and own.options.get("monitors") is not None:
            faults.append(
                InvalidValue("is no key (qubes_rpc.monitor_layout tells a VM its monitors)", f"{where}:monitors")
            )
        taken_back = own.taken_back
        if "keyboard" in taken_back and "keymap" not in (defaults or {}):
            # It came of the layout.
            taken_back = {*taken_back, "keymap"}
        kept = {f: text for f, text in base.desired.items() if not {f, f.partition(":")[0]} & taken_back}
        merged = {**kept, **own.desired}
        faults += _contradictions(merged.get("type"), own.groups | (base.groups - own.given), where)
        options = {**{name: v for name, v in base.options.items() if name not in taken_back}, **own.options}
        faults += _option_faults(vm, options, where)
        if (firewall := options.get(FIREWALL)) is not None:
            try:
                options[FIREWALL] = firewall.of_vm(options.get(NETVM), merged)
            except InvalidValue as error:
                # What could not be read is not missing.
                unread = {"netvm"} & wrong | ({"ip"} if "network" in wrong else set())
                faults += [
                    InvalidValue(str(f), f"{where}:{FIREWALL}:{f.where}") for f in error.faults if f.where not in unread
                ]
            else:
                if options[FIREWALL].netvm == vm:
                    faults.append(InvalidValue(_OWN_NETVM, f"{where}:{FIREWALL}:netvm"))
        if faults:
            raise InvalidValues(faults)
        _conditions(merged)
        from_defaults = frozenset(kept) - own.desired.keys()
        return cls(vm, MappingProxyType(merged), **options, from_defaults=from_defaults, where=where)

    def only(self, topics: Collection[str]) -> VMSettings:
        """Return the part of these settings that concerns *topics*, fields of the pillar such as ``services``.

        A setting that is made of several fields (``keyboard``) stays whole. Monitors, which are no key, are no
        topic. Raises InvalidValue for an unknown topic.
        """
        if isinstance(topics, str) or not isinstance(topics, Collection):
            raise InvalidValue("expected a list of topics, such as [timezone, services]", "only")
        known = [*FIELDS, NETVM, FIREWALL]
        for topic in topics:
            if topic not in known:
                raise InvalidValue(f"'{printable_value(topic)}' is not a topic{suggest(topic, known)}", "only")
        return replace(
            self,
            netvm=self.netvm if NETVM in topics else None,
            firewall=self.firewall if FIREWALL in topics else None,
            desired=MappingProxyType(
                {f: text for f, text in self.desired.items() if {f.partition(":")[0], for_field(f).setting} & {*topics}}
            ),
        )

    @property
    def wait_before_writing(self) -> float:
        """Seconds that the push may wait for the VM's lock, or for its QubesDB, before it writes."""
        return self.timeout * BEFORE_WRITING

    def after_wait(self, seconds: float) -> VMSettings:
        """Return these settings with the time that is left after a wait of *seconds* before anything was written."""
        left = max(self.timeout - seconds, self.timeout - self.wait_before_writing)
        return replace(self, timeout=float(f"{left:.3g}"))

    def with_options(self, **options: Any) -> VMSettings:
        """Return these settings with other *options* of a push: ``channel``, ``persist``, ``confirm``; None: as it is.

        Raises InvalidValue.
        """
        taken: dict[str, Any] = {}
        for name, value in options.items():
            try:
                taken.update({} if value is None else {name: _OPTIONS[name](value)})
            except InvalidValue as error:
                raise InvalidValue(str(error), name) from None
        return replace(self, **taken)


def parse_pillar(
    pillar: Any,
    *,
    root: str = "qubes",
    vm: str | None = None,
    only: Collection[str] | None = None,
    source: str = "the pillar",
) -> list[VMSettings]:
    """Parse ``<root>:defaults`` and ``<root>:vms`` of *pillar*: one VMSettings a VM, in the pillar's order.

    With *vm* that one alone, whatever the others' faults; with *only* those topics alone (see VMSettings.only).
    *source* says in errors where the pillar comes from.

    Raises InvalidValues with one fault for each thing that is wrong, its path (``qubes:vms:work:network:ip``) as its
    ``where``: also for a pillar that lists no VMs at all, which must not read like one that asks for nothing. Other
    keys below *root* are not ours and are left alone, unless they are misspelt ones of ours.
    """
    faults: list[InvalidValue] = []
    defaults, vms = sections(pillar, root, _OF_A_VM, source, faults)
    incomplete = bool(faults)
    _collect(defaults, f"{root}:defaults", faults)
    if vm is not None:
        refuse_dom0(vm)
        if vm not in vms and not incomplete:
            faults.append(InvalidValue("the pillar has no such VM", f"{root}:vms:{printable_value(vm)}"))
        vms = {vm: vms[vm]} if vm in vms else {}
    parsed: list[VMSettings] = []
    for name, raw in vms.items():
        try:
            parsed.append(
                VMSettings.parse(
                    name, {} if raw is None else raw, where=f"{root}:vms:{printable_value(name)}", defaults=defaults
                )
            )
        except InvalidValue as error:
            faults += error.faults
    faults += across.faults(parsed, f"{root}:vms")
    if faults:
        raise InvalidValues(faults)
    return parsed if only is None else [settings.only(only) for settings in parsed]


def mentions(pillar: Any, field: str, *, root: str = "qubes", source: str = "the pillar") -> bool:
    """Return whether *pillar* gives *field* to a VM or by default. What else it gives them is not parsed.

    Raises InvalidValues where it lists no VMs, as :func:`parse_pillar`.
    """
    faults: list[InvalidValue] = []
    defaults, vms = sections(pillar, root, _OF_A_VM, source, faults)
    if faults:
        raise InvalidValues(faults)
    return any(field in raw for raw in (defaults, *vms.values()) if isinstance(raw, Mapping))


def _check_name(vm: Any, where: str, faults: list[InvalidValue]) -> None:
    try:
        refuse_dom0(vm)
        if not isinstance(vm, str):
            raise InvalidValue(f"a VM's name is text, found {type(vm).__name__} (quote it)")
        VMName.parse(vm)
    except InvalidValue as error:
        faults.append(InvalidValue(str(error), where))


@dataclass(slots=True)
class _Collected:
    desired: dict[str, str | None]
    options: dict[str, Any]
    #: Fields that replace whatever the defaults say of them, and options that are null.
    taken_back: set[str]
    #: Known names that are there, null included.
    given: set[str] = field(default_factory=set)
    #: Those of them that could not be read.
    wrong: set[str] = field(default_factory=set)
    #: Those that are a network's mapping.
    groups: set[str] = field(default_factory=set)


def _collect(raw: Any, where: str, faults: list[InvalidValue]) -> _Collected:
    collected = _Collected({}, {}, set())
    for name, value in mapping(raw, where, faults).items():
        path = f"{where}:{printable_value(name)}"
        before = len(faults)
        if name in _OPTIONS and value is None:
            collected.taken_back.add(name)
        elif name in _OPTIONS:
            try:
                collected.options[name] = _OPTIONS[name](value)
            except InvalidValue as error:
                faults += [InvalidValue(str(f), f"{path}:{f.where}" if f.where else path) for f in error.faults]
        elif name in FIELDS:
            if value is None or name not in ("services", "vm_config"):
                collected.taken_back |= {name, *NETWORK_OPTIONS} if name == "network" else {name}
            if value is not None:
                collector = Collector(path)
                FIELDS[name](name, value, collector)
                # A layout also gives a keymap's text; a keymap that the pillar gives itself goes before it.
                collected.desired.update({f: t for f, t in collector.desired.items() if f == name or f not in raw})
                collected.options.update(collector.options)
                collected.taken_back |= collector.taken_back
                faults += collector.faults
        else:
            faults.append(InvalidValue(f"unknown field{suggest(name, [*FIELDS, *_OPTIONS])}", path))
            continue
        collected.given.add(name)
        if len(faults) > before:
            collected.wrong.add(name)
        if name in ("network", "provides_network") and isinstance(value, Mapping):
            collected.groups.add(name)
    return collected


def _channel(value: Any) -> str:
    if isinstance(value, str) and value in CHANNELS:
        return value
    raise InvalidValue(f"'{printable_value(value)}' is not a channel (expected {', '.join(CHANNELS)})")


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidValue(f"expected true or false, found '{printable_value(value)}'{quoted.hint(value)}")


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 3600:
        return float(value)
    raise InvalidValue(
        f"expected seconds, more than 0 and at most 3600, found '{printable_value(value)}'{quoted.hint(value)}"
    )


def _netvm(value: Any) -> str:
    if value == DEFAULT:
        return DEFAULT
    if value is False or value == "none":
        return ""
    refuse_dom0(value)
    return VMName.parse(yaml_text(value)).render()


_OPTIONS: Mapping[str, Callable[[Any], Any]] = {
    "monitors": monitorsetting.parse,
    "channel": _channel,
    "require_running": _yes_no,
    "timeout": _seconds,
    "persist": _yes_no,
    "confirm": _yes_no,
    NETVM: _netvm,
    FIREWALL: ClientFirewall.parse,
}


#: By what a VM's settings are known where they do not belong; the other options are words that others use too.
_OF_A_VM = frozenset({*FIELDS, "monitors", NETVM, FIREWALL})


#: Of a VM whose netvm is given as its own name.
_OWN_NETVM = "is the VM itself (expected another VM, which provides its network)"


def _option_faults(vm: str, options: Mapping[str, Any], where: str) -> list[InvalidValue]:
    """What is wrong between options that are right by themselves."""
    faults = []
    if options.get(NETVM) == vm:
        faults.append(InvalidValue(_OWN_NETVM, f"{where}:{NETVM}"))
    if options.get(NETVM) is not None and options.get("persist") is False:
        faults.append(InvalidValue("is kept by qubesd alone, and persist is false", f"{where}:{NETVM}"))
    if options.get(REATTACH) and options.get("persist") is False:
        faults.append(InvalidValue("is done by qubesd alone, and persist is false", f"{where}:network:{REATTACH}"))
    return faults


def _contradictions(text: str | None, groups: Collection[str], where: str) -> list[InvalidValue]:
    """What the VM's type forbids: these keys are conditions of each other, so dom0 must not write both.

    *text* is the type's, None where there is none; *groups* are the networks that the VM is given.
    """
    vm_type = None if text is None else VMType.parse(text)
    faults = []
    if vm_type is not None and not vm_type.provides_network and "provides_network" in groups:
        faults.append(
            InvalidValue(f"a VM of type {text} does not provide network (expected NetVM or ProxyVM, or no type)",
                         f"{where}:provides_network")
        )  # fmt: skip
    if vm_type is VMType.NET_VM and "network" in groups:
        faults.append(
            InvalidValue("a NetVM has no netvm of its own (expected type ProxyVM, or no network)", f"{where}:network")
        )
    return faults


def _conditions(desired: dict[str, str | None]) -> None:
    """Where the type says that a condition does not hold, the keys that hang on it shall not exist."""
    if (text := desired.get("type")) is None:
        return
    vm_type = VMType.parse(text)
    if not vm_type.provides_network:
        FIELDS.remove_group("provides_network", desired)
    if vm_type is VMType.NET_VM:
        FIELDS.remove_group("network", desired)
