"""Fields of a VM that no key has, as qubesd alone keeps them: features and properties. How each is read from YAML.

``provides_network`` is both: a mapping gives a provider's keys, and with them the property is on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vminterface.dom0.desired.fields import FIELDS, Collector, Field, Reader, or_default, yaml_text
from vminterface.errors import InvalidValue, kind_of, printable, printable_value
from vminterface.keys import DEFAULT
from vminterface.values import feature, featurecatalogue, featurekind, flags, schema, vmproperty
from vminterface.values.schema import Schema
from vminterface.values.service import ServiceState
from vminterface.values.vmproperty import VMProperty

FEATURES = "features"
PROVIDES_NETWORK = "provides_network"
#: One switch: qubesd makes the service of the feature at each start of a VM.
CHECK_UPDATES, UPDATE_CHECK = f"{FEATURES}:check-updates", "services:qubes-update-check"


def feature_of(field: str) -> str:
    """Return the name of the feature that *field* is; empty text for another field."""
    group, _, name = field.partition(":")
    return name if group == FEATURES else ""


def alone(desired: Mapping[str, Any], persistent: Mapping[str, Any]) -> list[str]:
    """Return the fields of *persistent* that need qubesd: not what only follows from keys in *desired*."""
    follows = {PROVIDES_NETWORK} if f"{PROVIDES_NETWORK}:gateway" in desired else set()
    return sorted(persistent.keys() - follows)


def errors(
    desired: Mapping[str, Any], persistent: Mapping[str, Any], where: str, *, persist: bool | None
) -> list[InvalidValue]:
    """Return what is wrong between fields of a VM that are right by themselves."""
    found = []
    if persist is False:
        found += [
            InvalidValue("is only stored by qubesd (expected persist not to be false)", f"{where}:{name}")
            for name in alone(desired, persistent)
        ]
    if CHECK_UPDATES in persistent and UPDATE_CHECK in desired:
        state, flag = desired[UPDATE_CHECK], persistent[CHECK_UPDATES]
        if flag is not (None if state is None else state is ServiceState.ON):
            found.append(InvalidValue(f"contradicts {UPDATE_CHECK} (both are one switch)", f"{where}:{CHECK_UPDATES}"))
    ip, fake = desired.get("network:ip"), persistent.get(f"{FEATURES}:net.fake-ip")
    if ip is not None and fake is not None and str(ip) != fake:
        found.append(
            InvalidValue(
                f"is {fake}, but network:ip, the address that the VM sees, is {ip}", f"{where}:{FEATURES}:net.fake-ip"
            )
        )
    return found


def _features(name: str, value: Any, into: Collector) -> None:
    if not isinstance(value, Mapping):
        into.error(f"is of type {kind_of(value)} (expected a mapping of feature names to values or {DEFAULT})")
        return
    for key, one in value.items():
        try:
            member = yaml_text(key)
            feature.check_name(member)
            if why := featurecatalogue.why_not(member):
                raise InvalidValue(f"the feature '{printable(member, 60)}' {why}")
            if one is None:
                into.taken_back.add(f"{name}:{member}")
            else:
                into.persistent[f"{name}:{member}"] = _feature(member, one)
        except InvalidValue as error:
            into.error(str(error), printable_value(key))


def _feature(name: str, value: Any) -> featurekind.Value | None:
    if value == DEFAULT:
        return None
    parsed = featurecatalogue.kind_of(name).from_pillar(value)
    feature.check(name, featurekind.render(parsed))
    return parsed


def _property(one: VMProperty) -> Reader:
    def read(name: str, value: Any, into: Collector) -> None:
        try:
            if value != DEFAULT:
                into.persistent[name] = one.from_pillar(value)
            elif one.has_default:
                into.persistent[name] = None
            else:
                raise InvalidValue(f"has no default (expected {one.expected})")
        except InvalidValue as error:
            into.error(str(error))

    return read


def _provides_network(name: str, value: Any, into: Collector) -> None:
    if isinstance(value, Mapping):
        FIELDS[name].read(name, value, into)
        into.persistent[name] = True
    elif value in ("none", DEFAULT):
        FIELDS.remove_group(name, into.desired)
        into.persistent[name] = None if value == DEFAULT else False
    else:
        try:
            into.persistent[name] = flags.from_word(value)
        except InvalidValue:
            forms = f"on, off, none, {DEFAULT}, or a mapping with a gateway"
            into.error(f"'{printable_value(value)}' is not valid (expected {forms})")
        else:
            if into.persistent[name] is False:
                FIELDS.remove_group(name, into.desired)


def _features_schema() -> Schema:
    """Return the form of the mapping of features."""
    names, families = map(_with_default, featurecatalogue.schemas())
    names_form = {**feature.NAME_SCHEMA, "not": {"pattern": f"^(?:{featurecatalogue.NOT_SETTABLE})"}}
    others = schema.any_of(or_default(featurekind.ANY.schema), schema.NULL)
    return {**schema.named(others, names=names_form, known=names), "patternProperties": families}


def _with_default(forms: featurecatalogue.Schemas) -> dict[str, Schema]:
    return {
        name: schema.described(schema.any_of(or_default(form), schema.NULL), does)
        for name, (does, form) in forms.items()
    }


def _property_schema(one: VMProperty) -> Schema:
    return or_default(one.schema) if one.has_default else {**one.schema, "not": schema.one_of(DEFAULT)}


#: Every field of the pillar that has a value without a key.
PERSISTENT_FIELDS: Mapping[str, Field] = {
    FEATURES: Field("are features that qubesd keeps of the VM", _features, _features_schema()),
    **{name: Field(one.does, _property(one), _property_schema(one)) for name, one in vmproperty.KNOWN.items()},
    PROVIDES_NETWORK: Field(
        "lets the VM provide network to others: on or off, or its network settings for them",
        _provides_network,
        schema.any_of(FIELDS[PROVIDES_NETWORK].schema, flags.SCHEMA),
    ),
}
