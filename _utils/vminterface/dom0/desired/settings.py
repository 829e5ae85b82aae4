"""The desired settings of VMs, parsed from the pillar: all errors at once, each with its pillar path.

Only what the pillar names is managed; a field that is not there is left as it is, but for what follows from another (a
network's netmask, a layout's keymap). ``default`` (for a network: ``none``) means that the key shall not exist, so that
the VM decides; YAML's null takes a default of ``qubes:defaults`` back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from vminterface.dom0.desired import across, firewall, persistent
from vminterface.dom0.desired.fields import (
    FIELDS,
    NETWORK_OPTIONS,
    REATTACH,
    Collector,
    suggest,
    yaml_text,
)
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.dom0.desired.pillarroot import mapping, sections
from vminterface.dom0.desired.words import FIREWALL, MONITORS, NETVM
from vminterface.errors import InvalidValue, InvalidValues, kind_of, printable_value
from vminterface.keys import DEFAULT, TABLE, for_field
from vminterface.values import monitorsetting, quoted, schema, vmname
from vminterface.values.monitorsetting import MonitorSetting
from vminterface.values.plain import plain
from vminterface.values.schema import Schema
from vminterface.values.vmname import VMName, refuse_dom0
from vminterface.values.vmtype import VMType

#: Seconds that a push of a VM waits at most, unless the pillar says ``timeout:``.
ACKNOWLEDGE_WITHIN = 5.0
#: Part of that which a wait before anything is written may take, so that the agent has a fair part to acknowledge in.
BEFORE_WRITING = 0.5
CHANNELS = ("auto", "xenstore", "qubesdb")
#: Seconds that ``timeout:`` may be at most.
_TIMEOUT_MOST = 3600

#: The value of each field, None where its key shall not exist.
Desired = Mapping[str, Any]
#: What fields say, by their names and values; and so many of them at most.
Known = dict[tuple[Any, ...], Collector]
_KNOWN_MOST = 1000


@dataclass(slots=True)
class Collected:
    """The fields and options of one mapping of the pillar, ``qubes:defaults`` or a VM."""

    desired: dict[str, Any] = field(default_factory=dict)
    #: Of fields that no key has.
    persistent: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    #: Fields that replace whatever the defaults say of them, and options that are null.
    taken_back: set[str] = field(default_factory=set)
    #: Known names that are there, null included.
    given: set[str] = field(default_factory=set)
    #: Those of them that could not be read.
    wrong: set[str] = field(default_factory=set)
    #: Those that are a network's mapping.
    groups: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class VMSettings:
    """What dom0 wants of one VM. ``desired`` is the value of each managed field, None where the key shall not exist."""

    vm: str
    desired: Desired = field(default_factory=dict)
    #: The value of each managed field that no key has, as qubesd alone keeps it; None: it shall forget it.
    persistent: Desired = field(default_factory=dict)
    channel: str = "auto"
    require_running: bool = False
    #: Seconds that are left to wait for the VM.
    timeout: float = ACKNOWLEDGE_WITHIN
    #: Set by a service call, as no key holds them; None: not managed.
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
    #: Settings of the agent that the VM's owner may refuse without making that an error.
    optional: frozenset[str] = frozenset()
    #: Fields of ``desired`` and ``kept`` that the VM has of ``qubes:defaults``, and not by a word about itself.
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
    def parse(cls, vm: str, raw: Any, *, where: str = "", defaults: Collected | None = None) -> VMSettings:
        """Parse the pillar mapping *raw* of *vm* on top of *defaults*. Raises InvalidValues, paths below *where*."""
        return cls._of_plain(vm, plain(raw), where or vm, Collected() if defaults is None else defaults, {})

    @classmethod
    def _of_plain(cls, vm: str, raw: Any, where: str, base: Collected, known: Known) -> VMSettings:
        """Do as :meth:`parse` with a mapping that is plain; *known* is what other VMs of the same pillar say."""
        errors: list[InvalidValue] = []
        _check_name(vm, where, errors)
        own = _collect(raw, where, errors, known)
        wrong = own.wrong | (base.wrong - own.given)
        taken_back = own.taken_back
        if "keyboard" in taken_back and "keymap" not in base.given:
            # It was derived from the layout.
            taken_back = {*taken_back, "keymap"}
        of_base = Collected(_left(base.desired, taken_back), _left(base.persistent, taken_back))
        merged, values = {**of_base.desired, **own.desired}, {**of_base.persistent, **own.persistent}
        errors += _contradictions(merged.get("type"), own.groups | (base.groups - own.given), where)
        options = {**{name: v for name, v in base.options.items() if name not in taken_back}, **own.options}
        errors += _option_errors(vm, options, where)
        errors += persistent.errors(merged, values, where, persist=options.get("persist"))
        if (firewall := options.get(FIREWALL)) is not None:
            try:
                options[FIREWALL] = firewall.of_vm(options.get(NETVM), merged)
            except InvalidValue as error:
                # What could not be read is not missing.
                unread = {"netvm"} & wrong | ({"ip"} if "network" in wrong else set())
                errors += [
                    InvalidValue(str(f), f"{where}:{FIREWALL}:{f.where}") for f in error.errors if f.where not in unread
                ]
            else:
                if options[FIREWALL].netvm == vm:
                    errors.append(InvalidValue(_OWN_NETVM, f"{where}:{FIREWALL}:netvm"))
        if errors:
            raise InvalidValues(errors)
        _conditions(merged)
        from_defaults = frozenset({*of_base.desired, *of_base.persistent}) - {*own.desired, *own.persistent}
        both = MappingProxyType(merged), MappingProxyType(values)
        return cls(vm, *both, **options, from_defaults=from_defaults, where=where)

    def only(self, fields: Collection[str]) -> VMSettings:
        """Return the part of these settings that concerns *fields*, fields of the pillar such as ``services``.

        A setting that is made of several fields (``keyboard``) stays whole. Raises InvalidValue for an unknown topic.
        """
        if isinstance(fields, str) or not isinstance(fields, Collection):
            raise InvalidValue("is not a list (expected fields, such as [timezone, services])", "only")
        known = FIELD_NAMES
        for name in fields:
            if name not in known:
                raise InvalidValue(f"'{printable_value(name)}' is not a field{suggest(name, known)}", "only")
        return replace(
            self,
            netvm=self.netvm if NETVM in fields else None,
            firewall=self.firewall if FIREWALL in fields else None,
            monitors=self.monitors if MONITORS in fields else None,
            desired=MappingProxyType(
                {
                    f: value
                    for f, value in self.desired.items()
                    if {f.partition(":")[0], for_field(f).setting} & {*fields}
                }
            ),
            persistent=MappingProxyType(
                {f: value for f, value in self.persistent.items() if f.partition(":")[0] in fields}
            ),
        )

    @property
    def by_call_alone(self) -> bool:
        """Whether service calls alone apply it, without any store or qubesd."""
        others = self.desired or self.persistent or self.netvm is not None or self.firewall is not None
        return self.monitors is not None and not others

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
                taken.update({} if value is None else {name: OPTIONS[name].parse(value)})
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

    With *vm* that one alone, whatever the others' faults; with *only* those fields alone (see VMSettings.only).
    *source* names in errors where the pillar comes from.

    Raises InvalidValues with one error for each invalid value, its path (``qubes:vms:work:network:ip``) as its
    ``where``: also for a pillar that lists no VMs at all, which must not read like one that asks for nothing. Other
    keys below *root* are not ours and are left alone, unless they are misspelt ones of ours.
    """
    errors: list[InvalidValue] = []
    defaults, vms = sections(pillar, root, _OF_A_VM, source, errors)
    incomplete = bool(errors)
    # Their errors are reported here, once for all VMs.
    base = _collect(defaults, f"{root}:defaults", errors, {})
    if vm is not None:
        refuse_dom0(vm)
        if vm not in vms and not incomplete:
            errors.append(InvalidValue("the VM is not in the pillar", f"{root}:vms:{printable_value(vm)}"))
        vms = {vm: vms[vm]} if vm in vms else {}
    parsed: list[VMSettings] = []
    known: Known = {}
    for name, raw in vms.items():
        where = f"{root}:vms:{printable_value(name)}"
        try:
            # The sections are plain as a whole.
            parsed.append(VMSettings._of_plain(name, {} if raw is None else raw, where, base, known))
        except InvalidValue as error:
            errors += error.errors
    errors += across.errors(parsed, f"{root}:vms")
    if errors:
        raise InvalidValues(errors)
    return parsed if only is None else [settings.only(only) for settings in parsed]


def mentions(pillar: Any, field: str, *, root: str = "qubes", source: str = "the pillar") -> bool:
    """Return whether *pillar* gives *field* to a VM or by default. What else it gives them is not parsed.

    Raises InvalidValues where it lists no VMs, as :func:`parse_pillar`.
    """
    errors: list[InvalidValue] = []
    defaults, vms = sections(pillar, root, _OF_A_VM, source, errors)
    if errors:
        raise InvalidValues(errors)
    return any(field in raw for raw in (defaults, *vms.values()) if isinstance(raw, Mapping))


def _check_name(vm: Any, where: str, errors: list[InvalidValue]) -> None:
    try:
        refuse_dom0(vm)
        if not isinstance(vm, str):
            raise InvalidValue(f"a VM's name is of type {kind_of(vm)} (expected text: quote it)")
        VMName.parse(vm)
    except InvalidValue as error:
        errors.append(InvalidValue(str(error), where))


def _left(values: Mapping[str, Any], taken_back: Collection[str]) -> dict[str, Any]:
    """Return what is left of the defaults' *values*."""
    return {f: value for f, value in values.items() if not {f, f.partition(":")[0]} & {*taken_back}}


def _read(name: str, value: Any, path: str, known: Known) -> Collector:
    """Return what the field *name* says: what is in *known* where another VM of this pillar says the same.

    That holds for one parsing alone, so that a time zone that is installed meanwhile is found by the next.
    """
    parts = [part for pair in value.items() for part in pair] if isinstance(value, dict) else [value]
    # By their kinds too: to Python 1 and True are one.
    key = (name, *map(type, parts), *parts)
    try:
        if (found := known.get(key)) is not None:
            return found
    except TypeError:  # it has lists
        key = ()
    collector = Collector(path)
    (PERSISTENT_FIELDS.get(name) or FIELDS[name]).read(name, value, collector)
    if key and not collector.errors and len(known) < _KNOWN_MOST:
        known[key] = collector
    return collector


def _collect(raw: Any, where: str, errors: list[InvalidValue], known: Known) -> Collected:
    collected = Collected()
    for name, value in mapping(raw, where, errors).items():
        path = f"{where}:{name if name in _NAMES else printable_value(name)}"
        before = len(errors)
        if name in OPTIONS and value is None:
            collected.taken_back.add(name)
        elif name in OPTIONS:
            try:
                collected.options[name] = OPTIONS[name].parse(value)
            except InvalidValue as error:
                errors += [InvalidValue(str(f), f"{path}:{f.where}" if f.where else path) for f in error.errors]
        elif name in _NAMES:
            if value is None or name not in ("services", "vm_config", persistent.FEATURES):
                collected.taken_back |= {name, *NETWORK_OPTIONS} if name == "network" else {name}
            if value is not None:
                collector = _read(name, value, path, known)
                # A layout also gives a keymap; a keymap that the pillar gives itself goes before it.
                collected.desired.update({f: v for f, v in collector.desired.items() if f == name or f not in raw})
                collected.persistent.update(collector.persistent)
                collected.options.update(collector.options)
                collected.taken_back |= collector.taken_back
                errors += collector.errors
        else:
            errors.append(InvalidValue(f"unknown field{suggest(name, [*_NAMES, *OPTIONS])}", path))
            continue
        collected.given.add(name)
        if len(errors) > before:
            collected.wrong.add(name)
        if name in ("network", persistent.PROVIDES_NETWORK) and isinstance(value, Mapping):
            collected.groups.add(name)
        if collected.persistent.get(name) is True and name == persistent.PROVIDES_NETWORK:
            collected.groups.add(name)
    return collected


@dataclass(frozen=True, slots=True)
class Option:
    """One field of the pillar that has one value: what it does, how that is read, and the schema of its form."""

    does: str
    parse: Callable[[Any], Any]
    schema: Schema


def _channel(value: Any) -> str:
    if isinstance(value, str) and value in CHANNELS:
        return value
    raise InvalidValue(f"'{printable_value(value)}' is not a channel (expected {', '.join(CHANNELS)})")


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidValue(f"'{printable_value(value)}' is not valid (expected true or false){quoted.hint(value)}")


def _optional(value: Any) -> frozenset[str]:
    """Return the settings of the agent that the pillar's fields *value* are."""
    if not isinstance(value, list):
        raise InvalidValue(
            f"'{printable_value(value)}' is not valid (expected a list of fields, such as [network, keyboard])"
        )
    for field_ in value:
        if not isinstance(field_, str) or field_ not in _APPLIED:
            raise InvalidValue(
                f"'{printable_value(field_)}' is not a field that an agent applies{suggest(field_, _APPLIED)}"
            )
    return frozenset(_APPLIED[field_] for field_ in value)


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _TIMEOUT_MOST:
        return float(value)
    raise InvalidValue(
        f"'{printable_value(value)}' is not valid (expected seconds, more than 0 and at most {_TIMEOUT_MOST})"
        f"{quoted.hint(value)}"
    )


def _netvm(value: Any) -> str:
    if value == DEFAULT:
        return DEFAULT
    if value is False or value == "none":
        return ""
    refuse_dom0(value)
    return VMName.parse(yaml_text(value)).render()


#: Every field of a VM in the pillar that is no option.
_NAMES = tuple({**FIELDS, **PERSISTENT_FIELDS})
#: All fields of a VM, without the options of how it is pushed.
FIELD_NAMES = (*_NAMES, NETVM, FIREWALL, MONITORS)
#: The setting that the VM's agent makes of each field of the pillar.
_APPLIED: Mapping[str, str] = {
    group: key.setting for key in TABLE if key.setting and (group := key.field.partition(":")[0]) in FIELDS
}
#: Every field of the pillar that no key and no property of its own name has, and how a push is done.
OPTIONS: Mapping[str, Option] = {
    MONITORS: Option("are the VM's monitors, or from_dom0", monitorsetting.parse, monitorsetting.SCHEMA),
    "channel": Option("is where the keys go", _channel, schema.one_of(*CHANNELS)),
    "require_running": Option("sets whether a VM that does not run is an error", _yes_no, schema.BOOLEAN),
    "timeout": Option(
        "is how many seconds a push waits for the VM",
        _seconds,
        {"type": "number", "exclusiveMinimum": 0, "maximum": _TIMEOUT_MOST},
    ),
    "persist": Option("sets whether qubesd keeps what it can", _yes_no, schema.BOOLEAN),
    "confirm": Option("sets whether to wait for the agent's acknowledgement", _yes_no, schema.BOOLEAN),
    NETVM: Option(
        "is the VM that provides its network, or none",
        _netvm,
        schema.any_of(schema.one_of(DEFAULT, "none"), schema.FALSE, vmname.NOT_DOM0),
    ),
    FIREWALL: Option("is what the VM may reach", ClientFirewall.parse, firewall.SCHEMA),
    "optional": Option("are fields that the VM's owner may refuse", _optional, schema.listed(schema.one_of(*_APPLIED))),
}


#: By what a VM's settings are known where they do not belong; the other options are words that others use too.
_OF_A_VM = frozenset({*FIELDS, MONITORS, NETVM, FIREWALL})


#: Of a VM whose netvm is given as its own name.
_OWN_NETVM = "is the VM itself (expected another VM, which provides network)"


def _option_errors(vm: str, options: Mapping[str, Any], where: str) -> list[InvalidValue]:
    """What is wrong between options that are right by themselves."""
    errors = []
    if vm and options.get(NETVM) == vm:
        errors.append(InvalidValue(_OWN_NETVM, f"{where}:{NETVM}"))
    if options.get(NETVM) is not None and options.get("persist") is False:
        errors.append(InvalidValue("is only stored by qubesd (expected persist not to be false)", f"{where}:{NETVM}"))
    if options.get(REATTACH) and options.get("persist") is False:
        errors.append(
            InvalidValue("is only done by qubesd (expected persist not to be false)", f"{where}:network:{REATTACH}")
        )
    return errors


def _contradictions(vm_type: VMType | None, groups: Collection[str], where: str) -> list[InvalidValue]:
    """What the VM's type, if it has one, forbids: these keys are conditions of each other, so dom0 must not write both.

    *groups* are the networks that the VM is given.
    """
    errors = []
    if vm_type is not None and not vm_type.provides_network and "provides_network" in groups:
        errors.append(
            InvalidValue(
                f"a VM of type {vm_type.value} does not provide network (expected NetVM or ProxyVM, or no type)",
                f"{where}:provides_network",
            )
        )
    if vm_type is VMType.NET_VM and "network" in groups:
        errors.append(
            InvalidValue("a NetVM cannot have a netvm (expected type ProxyVM, or no network)", f"{where}:network")
        )
    return errors


def _conditions(desired: dict[str, Any]) -> None:
    """Where the type says that a condition does not hold, the keys that hang on it shall not exist."""
    if (vm_type := desired.get("type")) is None:
        return
    if not vm_type.provides_network:
        FIELDS.remove_group("provides_network", desired)
    if vm_type is VMType.NET_VM:
        FIELDS.remove_group("network", desired)
