"""The services that VMs of Qubes know by name: what each does, and in which kinds of VM it is on by default.

Sources: the manual page of ``qvm-service``, and core-agent's ``qubes-sysinit.sh`` (the same in R4.2 and R4.3), which
switches the defaults on where dom0 sets nothing. Any other name is valid too, for programs of one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vminterface.values.vmtype import VMType

_T, _A, _P, _N = VMType.TEMPLATE_VM, VMType.APP_VM, VMType.PROXY_VM, VMType.NET_VM
_EVERYWHERE = frozenset(VMType)
_FOUR = frozenset({_T, _A, _P, _N})
#: How alike a name has to be, from 0 to 1, to count as misspelt.
_NEAR = 0.8
#: Names of this family end in an application's ID.
_FAMILY = "app-dispvm."


@dataclass(frozen=True, slots=True)
class KnownService:
    """What a service does, and the kinds of VM in which it is on where dom0 does not name it."""

    does: str
    on_in: frozenset[VMType] = frozenset()


KNOWN: Mapping[str, KnownService] = {
    "app-dispvm.ID": KnownService("opens what is given to the application ID in a disposable VM"),
    "apparmor": KnownService("confines programs by AppArmor"),
    "audiovm": KnownService("provides sound to other VMs"),
    "avahi": KnownService("finds and announces services in the local network"),
    "blueman": KnownService("runs the applet of Bluetooth"),
    "clocksync": KnownService("asks the network for the time, for all VMs"),
    "crond": KnownService("runs periodic jobs of cron"),
    "cups": KnownService("prints"),
    "custom-persist": KnownService("keeps chosen folders alone over a restart"),
    "disable-default-route": KnownService("leaves the VM without a default route"),
    "disable-dns-server": KnownService("leaves the VM without resolvers"),
    "evolution-data-server": KnownService("keeps calendars and contacts of Evolution", frozenset({_T, _A})),
    "exim4": KnownService("runs the mail server of Debian"),
    "firewalld": KnownService("runs firewalld"),
    "getty@tty": KnownService("offers a login on a terminal; no VM can switch it on, as the name has an '@'"),
    "gui-agent-clipboard-wipe": KnownService("empties the clipboard after it was pasted"),
    "gui-agent-virtual-input-device": KnownService("gives input to programs by a virtual device"),
    "guivm": KnownService("draws the desktop of other VMs"),
    "guivm-gui-agent": KnownService("draws the desktop of other VMs, itself a window of dom0"),
    "guivm-vnc": KnownService("draws the desktop of other VMs, shown by VNC"),
    "harden-network-interfaces": KnownService("applies stricter kernel settings to network interfaces"),
    "lightdm": KnownService("runs a login screen"),
    "meminfo-writer": KnownService("reports memory to dom0, which balances it; dom0 always writes it", _EVERYWHERE),
    "minimal-netvm": KnownService("runs the services of a network VM alone"),
    "minimal-usbvm": KnownService("runs the services of a USB VM alone"),
    "modem-manager": KnownService("runs mobile modems"),
    "netfilter-persistent": KnownService("loads saved firewall rules of Debian"),
    "network-manager": KnownService("runs NetworkManager", frozenset({_N})),
    "no-qubesincoming-cleanup": KnownService("keeps empty folders below QubesIncoming"),
    "ntpd": KnownService("sets the clock by NTP"),
    "pipewire": KnownService("sends sound by PipeWire"),
    "pulseaudio-vanilla-broken": KnownService("leaves PulseAudio as the distribution has it"),
    "qubes-firewall": KnownService("applies the firewall of the VM's clients", frozenset({_P, _N})),
    "qubes-network": KnownService("provides network to other VMs", frozenset({_P, _N})),
    "qubes-update-check": KnownService("checks for updates and reports them to dom0", _FOUR),
    "qubes-updates-proxy": KnownService("runs the proxy by which templates get updates", frozenset({_N})),
    "qubes-yum-proxy": KnownService("old name of qubes-updates-proxy"),
    "servicevm": KnownService("marks a VM that serves others, for menus"),
    "software-rendering": KnownService("renders graphics without a GPU", _EVERYWHERE),
    "tinyproxy": KnownService("runs Tinyproxy as the distribution has it"),
    "tracker": KnownService("indexes files for the desktop's search", frozenset({_T, _A})),
    "updates-proxy-setup": KnownService("gets updates by the proxy of another VM", frozenset({_T})),
    "usb-reset-on-attach": KnownService("resets a USB device when it is attached"),
    "yum-proxy-setup": KnownService("old name of updates-proxy-setup"),
}


def defaults_for(vm_type: VMType) -> frozenset[str]:
    """Return the services that are on in a VM of that type where dom0 does not name them."""
    return frozenset(name for name, service in KNOWN.items() if vm_type in service.on_in)


def misspelt(name: str) -> str:
    """Return the known service for which *name* was probably meant; empty where it is one, or is like none."""
    if name in KNOWN or name.startswith(_FAMILY):
        return ""
    import difflib  # here, as the VM's agent reads this file too

    near = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=_NEAR)
    return near[0] if near else ""
