"""Types of VMs, old names and new classes."""

from __future__ import annotations

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.vmtype import VMType

NAMES = [
    "AppVM",
    "ProxyVM",
    "NetVM",
    "TemplateVM",
    "HVM",
    "TemplateHVM",
    "DisposableVM",
    "StandaloneVM",
    "DispVM",
    "AdminVM",
]


@pytest.mark.parametrize("text", NAMES)
def test_every_name_of_either_key_comes_back_as_written(text: str) -> None:
    assert VMType.parse(text).render() == text


def test_there_are_no_other_types() -> None:
    assert {kind.value for kind in VMType} == set(NAMES)


@pytest.mark.parametrize("text", ["", "appvm", "AppVM ", "AppVM\n", "Template", "QubesVM", "APP_VM"])
def test_other_texts_are_refused_with_the_list_of_names(text: str) -> None:
    with pytest.raises(InvalidValue, match="expected one of AppVM, ProxyVM"):
        VMType.parse(text)


def test_netvms_and_proxyvms_serve_network() -> None:
    assert {kind.value for kind in VMType if kind.provides_network} == {"NetVM", "ProxyVM"}
