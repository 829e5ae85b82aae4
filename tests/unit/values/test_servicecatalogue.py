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


#: Those of the manual page of ``qvm-service`` in R4.3.
MAN_PAGE = """
clocksync crond cups custom-persist disable-default-route disable-dns-server evolution-data-server guivm guivm-gui-agent
guivm-vnc lightdm meminfo-writer minimal-netvm minimal-usbvm network-manager qubes-firewall qubes-network
qubes-update-check qubes-updates-proxy qubes-yum-proxy servicevm software-rendering tracker updates-proxy-setup
usb-reset-on-attach yum-proxy-setup
"""
#: Those that programs in VMs of R4.3 look for beside these.
READ_IN_VMS = """
app-dispvm.ID apparmor audiovm avahi blueman exim4 firewalld getty@tty gui-agent-clipboard-wipe
gui-agent-virtual-input-device harden-network-interfaces modem-manager netfilter-persistent no-qubesincoming-cleanup
ntpd pipewire pulseaudio-vanilla-broken tinyproxy
"""


def test_all_that_the_manual_page_or_a_program_in_vms_names_is_known() -> None:
    assert set(KNOWN) == {*MAN_PAGE.split(), *READ_IN_VMS.split()}


def test_each_has_a_sentence_that_says_what_it_does() -> None:
    assert all(one.does[0].islower() and one.does[-1] != "." and one.does.isprintable() for one in KNOWN.values())
