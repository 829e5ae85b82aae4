"""The services that Qubes has: their defaults, and what a misspelt name was probably meant to be."""

from __future__ import annotations

from typing import Any

import pytest

from vminterface.errors import InvalidValue
from vminterface.values.service import ServiceName
from vminterface.values.servicecatalogue import KNOWN, defaults_for, misspelt
from vminterface.values.vmtype import VMType

EVERYWHERE = {"meminfo-writer", "software-rendering"}


@pytest.mark.parametrize(
    ("vm_type", "more"),
    [
        (VMType.APP_VM, {"qubes-update-check", "tracker", "evolution-data-server"}),
        (VMType.TEMPLATE_VM, {"qubes-update-check", "tracker", "evolution-data-server", "updates-proxy-setup"}),
        (VMType.PROXY_VM, {"qubes-update-check", "qubes-network", "qubes-firewall"}),
        (VMType.NET_VM,
         {"qubes-update-check", "qubes-network", "qubes-firewall", "network-manager", "qubes-updates-proxy"}),
        (VMType.HVM, set()),
    ],
)  # fmt: skip
def test_the_defaults_are_those_of_the_start_script(vm_type: VMType, more: set[str]) -> None:
    assert defaults_for(vm_type) == EVERYWHERE | more


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cupps", "cups"),
        ("network_manager", "network-manager"),
        ("clock-sync", "clocksync"),
        ("CUPS", "cups"),
        ("qubes-updates-check", "qubes-update-check"),
        *((name, "") for name in KNOWN),
        ("app-dispvm.org.example.Viewer", ""),
        ("my-backup", ""),
        ("web", ""),
    ],
)
def test_a_name_that_is_near_a_known_one_was_probably_meant_for_it(name: str, near: str) -> None:
    assert misspelt(name) == near


def test_every_name_but_those_that_are_none_is_one_of_a_service() -> None:
    def accepted(name: Any) -> Any:
        try:
            return ServiceName.parse(name).render() == name
        except InvalidValue:
            return False

    assert [name for name in KNOWN if not accepted(name)] == ["getty@tty"]
