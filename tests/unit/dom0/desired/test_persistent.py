"""What the pillar says of features and properties that no key has, and of VMs that provide network."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.dom0.desired.fields import Collector
from vminterface.dom0.desired.persistent import PERSISTENT_FIELDS
from vminterface.values.label import Label
from vminterface.values.memorysize import MemorySize


def read(name: str, value: Any) -> Collector:
    into = Collector(name)
    PERSISTENT_FIELDS[name].read(name, value, into)
    return into


def faults(name: str, value: Any) -> list[tuple[str, str]]:
    return [(fault.where, str(fault)) for fault in read(name, value).errors]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("memory", 400, MemorySize(400)),
        ("maxmem", False, MemorySize(0)),
        ("vcpus", 2, 2),
        ("label", "red", Label("red")),
        ("guivm", "sys-gui", "sys-gui"),
        ("guivm", "dom0", "dom0"),
        ("audiovm", "none", ""),
        ("autostart", True, True),
        ("template_for_dispvms", "off", False),
        ("memory", "default", None),
        ("guivm", "default", None),
    ],
)
def test_a_property_has_its_value_and_none_for_default(name: Any, value: Any, kept: Any) -> None:
    assert read(name, value).persistent == {name: kept}


def test_a_label_has_no_default() -> None:
    assert faults("label", "default")[0][1].startswith("has no default (expected red")


def test_features_have_each_its_own_kind() -> None:
    into = read(
        "features",
        {
            "internal": True,
            "gui-trayicon-mode": "bg",
            "gui-videoram-min": 16384,
            "menu-items": ["a.desktop", "b.desktop"],
            "my-own": False,
            "x-note": "text",
            "check-updates": "default",
            "gui": None,
        },
    )
    assert not into.errors
    assert into.persistent == {
        "features:internal": True,
        "features:gui-trayicon-mode": "bg",
        "features:gui-videoram-min": "16384",
        "features:menu-items": "a.desktop b.desktop",
        "features:my-own": False,
        "features:x-note": "text",
        "features:check-updates": None,
    }
    assert into.taken_back == {"features:gui"}


@pytest.mark.parametrize(
    ("raw", "where", "text"),
    [
        ({"gui-trayicon-mode": "green"}, "features:gui-trayicon-mode", "expected one of bg,"),
        ({"service.cups": True}, "features:service.cups", "expected it in services"),
        ({"service.meminfo-writer": True}, "features:service.meminfo-writer", "expected maxmem: 0"),
        ({"vm-config.x": "y"}, "features:vm-config.x", "expected it in vm_config"),
        ({"preload-dispvm": "disp1"}, "features:preload-dispvm", "lets nobody set it"),
        ({"custom-persist.x": "relative"}, "features:custom-persist.x", "expected an absolute path"),
        ({"custom-persist." + "a" * 55: "/srv"}, "features:custom-persist.aaa", "cannot become a key"),
        ({"a b": True}, "features:a b", "not a valid feature name"),
        ({5: True}, "features:5", "expected text"),
        ({"my-own": ["a"]}, "features:my-own", "(expected on, off, a number or text"),
        ({"my-own": "caf\u00e9"}, "features:my-own", "expected printable ASCII"),
    ],
)
def test_a_wrong_feature_is_an_error_at_its_path(raw: Any, where: Any, text: Any) -> None:
    ((found, message),) = faults("features", raw)
    assert found.startswith(where)
    assert text in message


def test_features_are_a_mapping() -> None:
    assert faults("features", ["gui"])[0][1].startswith("is of type list (expected a mapping of feature names")


@pytest.mark.parametrize(
    ("value", "kept", "keys"),
    [
        ({"gateway": "10.137.0.5"}, True, True),
        (True, True, False),
        ("on", True, False),
        (False, False, True),
        ("none", False, True),
        ("default", None, True),
    ],
)
def test_a_provider_is_a_property_and_its_keys(value: Any, kept: Any, keys: Any) -> None:
    into = read("provides_network", value)
    assert not into.errors
    assert into.persistent == {"provides_network": kept}
    assert bool(into.desired) is keys
    gateway = into.desired.get("provides_network:gateway")
    assert (gateway is not None) is isinstance(value, dict)


def test_what_is_neither_a_flag_nor_a_network_is_refused() -> None:
    assert faults("provides_network", 7)[0][1].startswith(
        "'7' is not valid (expected on, off, none, default, or a mapping"
    )
