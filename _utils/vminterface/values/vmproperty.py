"""Properties of VMs that qubesd keeps and no key shows: what each does, and its value in the pillar and in qubesd.

Texts of qubesd: ``True`` and ``False`` for flags, digits for numbers, a name or empty text for VMs. Source: Qubes
core-admin, ``QubesVM`` and its mixins, with the setters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vminterface.errors import InvalidValue, digits, printable_value
from vminterface.values import flags, label, memorysize, schema, vmname
from vminterface.values.effect import Effect
from vminterface.values.label import Label
from vminterface.values.memorysize import MemorySize
from vminterface.values.schema import Schema
from vminterface.values.vmname import VMName

_VCPUS_MOST = 512


@dataclass(frozen=True, slots=True)
class VMProperty:
    """One property. A value is a bool, an int, a Label, a MemorySize, or a VM's name, empty for none."""

    does: str
    expected: str
    #: From what an admin writes to the value; raises InvalidValue.
    from_pillar: Callable[[Any], Any]
    #: From qubesd's text to the value; raises InvalidValue.
    parse: Callable[[str], Any]
    #: What ``from_pillar`` takes.
    schema: Schema
    #: From the value to qubesd's text.
    render: Callable[[Any], str] = str
    #: From the value to what an admin writes.
    shown: Callable[[Any], Any] = str
    effect: Effect = Effect.START
    #: Whether it can go back to a default.
    has_default: bool = True
    #: Whether it names a VM.
    of_vm: bool = False


def _flag(does: str, effect: Effect) -> VMProperty:
    return VMProperty(
        does, "on or off", flags.from_word, flags.parse_true_false, flags.SCHEMA, flags.render_true_false,
        lambda value: "on" if value else "off", effect,
    )  # fmt: skip


def _vm(does: str, effect: Effect) -> VMProperty:
    def from_pillar(value: Any) -> str:
        if value is False or value == "none":
            return ""
        if not isinstance(value, str):
            raise InvalidValue(f"'{printable_value(value)}' is not valid (expected a VM's name, quoted, or none)")
        return VMName.parse(value).render()

    return VMProperty(
        does, "a VM's name, or none", from_pillar, lambda text: text and VMName.parse(text).render(),
        schema.any_of(schema.one_of("none"), schema.FALSE, vmname.SCHEMA),
        shown=lambda value: value or "none", effect=effect, of_vm=True,
    )  # fmt: skip


def _vcpus(value: Any) -> int:
    text = digits(value) if type(value) is int else value
    if not (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10) or not (
        1 <= int(text) <= _VCPUS_MOST
    ):
        raise InvalidValue(
            f"'{printable_value(value, 40)}' is not a number of virtual CPUs (expected 1 to {_VCPUS_MOST})"
        )
    return int(text)


def _maxmem(value: Any) -> MemorySize:
    # As text the word comes from the command line, or from YAML in which it is quoted.
    off = value is False or value == "off"
    return MemorySize.parse(0 if off else value, zero=True)


def _size(does: str, expected: str, parse: Callable[[Any], MemorySize], form: Schema) -> VMProperty:
    return VMProperty(does, expected, parse, parse, form, MemorySize.render, lambda value: value.mib)


def _label(value: Any) -> Label:
    if type(value) is int:
        value = digits(value)
    if not isinstance(value, str):
        raise InvalidValue(f"'{printable_value(value)}' is not a label (expected one such as red)")
    return Label.parse(value)


#: By the field of the pillar, which has the property's own name.
KNOWN: Mapping[str, VMProperty] = {
    "audiovm": _vm("is the VM that plays its sound", Effect.NOW),
    "autostart": _flag("starts the VM with the host", Effect.NOW),
    "guivm": _vm("is the VM that draws its windows", Effect.START),
    "label": VMProperty(
        "is the colour that marks the VM", "red, orange, yellow, green, gray, blue, purple, black, or your own",
        _label, Label.parse, schema.any_of(label.SCHEMA, schema.number(1, len(label.STOCK))), Label.render,
        Label.render, has_default=False,
    ),
    "maxmem": _size(
        "is the most memory that qubesd gives the VM; 0 or off: always the same", "MiB, a size such as 4GiB, or off",
        _maxmem, schema.any_of(memorysize.ZERO_TOO, schema.FALSE),
    ),
    "memory": _size(
        "is the memory that the VM starts with", "MiB, or a size such as 4GiB", MemorySize.parse, memorysize.SCHEMA
    ),
    "provides_network": _flag("lets the VM provide network to others", Effect.START),
    "template_for_dispvms": _flag("lets disposable VMs be made of the VM", Effect.NOW),
    "vcpus": VMProperty(
        "is how many virtual CPUs the VM has", f"1 to {_VCPUS_MOST}", _vcpus, _vcpus,
        schema.any_of(schema.number(1, _VCPUS_MOST), schema.text("0*[1-9][0-9]*")), shown=lambda value: value,
    ),
}  # fmt: skip
