"""What this VM can do, in the words in which dom0 notes it: features to be asked for by ``qubes.FeaturesRequest``.

Names and meanings: Qubes core-agent-linux ``post-install.d``. What dom0 would refuse is left out and named, as one
such value would cost all the others.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping

from vminterface.errors import InvalidValue, VMInterfaceError
from vminterface.regex import regex
from vminterface.values import featurerequest
from vminterface.values.persistence import Persistence
from vminterface.vm.handlers.runtime.entry import PROGRAMS
from vminterface.vm.machine import osrelease
from vminterface.vm.machine.files import Files
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs

#: What Qubes core-agent-linux puts into every VM; its first line with a digit is the release.
MARKER = "/usr/share/qubes/marker-vm"
#: Where a VM's own handlers are, which outlive its shutdown also where its template's files do not.
OWN_PROGRAMS = "/usr/local/etc/qubes-rpc"
GUI_AGENT = "/usr/bin/qubes-gui"
AGENT_UNIT = "vminterface-agent.service"
_RELEASE = regex(r"[0-9]{1,3}\.[0-9]{1,3}\Z", re.ASCII)
_KERNEL = regex(r"vmlinuz-(.+)\Z")
_HOTPLUG = "CONFIG_XEN_BALLOON_MEMORY_HOTPLUG=y"
_CONFIG_LIMIT = 1 << 20
#: Services of Qubes by the units that do their work: with one of them enabled, the VM has the service.
UNITS: Mapping[str, tuple[str, ...]] = {
    "apparmor": ("apparmor.service",),
    "avahi": ("avahi-daemon.service",),
    "clocksync": ("chronyd.service", "chrony.service", "qubes-sync-time.service", "systemd-timesyncd.service"),
    "crond": ("anacron.service", "cron.service", "crond.service"),
    "cups": ("cups.service", "cups.socket", "org.cups.cupsd.service"),
    "exim4": ("exim4.service",),
    "modem-manager": ("ModemManager.service",),
    "netfilter-persistent": ("netfilter-persistent.service",),
    "network-manager": ("NetworkManager.service", "network-manager.service"),
    "qubes-firewall": ("qubes-firewall.service",),
    "qubes-network": ("qubes-network.service",),
    "qubes-update-check": ("qubes-update-check.service",),
    "qubes-updates-proxy": ("qubes-updates-proxy.service",),
    "updates-proxy-setup": ("qubes-updates-proxy-forwarder.socket",),
}
#: Services that the stock agent's own programs read.
_STOCK = ("meminfo-writer", "minimal-netvm", "minimal-usbvm", "no-qubesincoming-cleanup")
#: What systemctl calls a unit that is started without anybody's word (is-enabled's status 0).
_ENABLED = frozenset(("enabled", "enabled-runtime", "static", "alias", "indirect", "generated", "transient"))
_UNITS_LIMIT = 1 << 20


def collect(machine: Machine, persistence: Persistence) -> tuple[dict[str, str], list[str]]:
    """Return the features to ask for, and a sentence for each that dom0 would refuse."""
    desired: dict[str, str] = {}
    left_out = []
    for name, value in _all(machine, persistence):
        try:
            featurerequest.check(name, value)
        except InvalidValue as error:
            left_out.append(str(error))
        else:
            desired[name] = value
    return desired, left_out


def tools(desired: Mapping[str, str]) -> dict[str, str]:
    """Return those of the features *desired* that ``qubes.NotifyTools`` knows."""
    return {name: desired[name] for name in featurerequest.TOOLS if name in desired}


def _all(machine: Machine, persistence: Persistence) -> Iterator[tuple[str, str]]:
    stock = _first_number(machine)
    if stock:
        yield "qubes-agent-version", stock
    yield from osrelease.features(machine).items()
    yield "os", os.uname().sysname
    yield "qrexec", "1"
    yield "vmexec", "1" if machine.is_file(f"{PROGRAMS}/qubes.VMExec") else "0"
    if os.access(machine.path(GUI_AGENT), os.X_OK):
        yield "gui", "1"
    enabled = _enabled_units(machine)
    yield "qubes-firewall", "1" if "qubes-firewall.service" in enabled else "0"
    names = {service for service, units in UNITS.items() if enabled.intersection(units)}
    if stock:
        names.update(_STOCK)
    elif AGENT_UNIT in enabled:
        names.add("meminfo-writer")
    yield from ((f"supported-service.{service}", "1") for service in sorted(names))
    # Empty text: no.
    yield "supported-feature.memory-hotplug", "1" if _has_hotplug(machine) else ""
    yield from ((f"supported-rpc.{service}", "1") for service in _replied(machine, persistence))


def _first_number(machine: Files) -> str:
    """Return the release of the stock agent, empty where there is none."""
    lines = (machine.read_text(MARKER, limit=4096) or "").splitlines()
    found = next((line.strip() for line in lines if line[:1].isdigit()), "")
    return found if _RELEASE.match(found) else ""


def _enabled_units(machine: Programs) -> set[str]:
    command = ["systemctl", "list-unit-files", "--plain", "--no-legend", "--no-pager", "--type=service,socket"]
    try:
        lines = machine.run(command, limit=_UNITS_LIMIT).decode("utf-8", "replace").splitlines()
    except VMInterfaceError:
        return set()  # no systemd
    return {words[0] for line in lines if len(words := line.split()) >= 2 and words[1] in _ENABLED}


def _has_hotplug(machine: Files) -> bool:
    """Whether the newest kernel that this VM has of its own can be given memory while it runs."""
    versions = [found[1] for name in machine.names("/boot") if (found := _KERNEL.match(name))]
    for version in sorted(versions, key=_order, reverse=True):
        if machine.is_file(f"/boot/config-{version}"):
            text = machine.read_text(f"/boot/config-{version}", limit=_CONFIG_LIMIT) or ""
            return _HOTPLUG in text.splitlines()
    return False


def _order(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", version)]


def _replied(machine: Files, persistence: Persistence) -> list[str]:
    """Return the services that the VM still answers after its next start."""
    if persistence is Persistence.NONE:
        return []
    folder = PROGRAMS if persistence is Persistence.FULL else OWN_PROGRAMS
    found = set()
    for name in machine.names(folder):
        try:
            mode = os.stat(machine.path(f"{folder}/{name}")).st_mode
        except OSError:
            continue  # a link to a port leads nowhere
        if (stat.S_ISREG(mode) and mode & 0o111) or stat.S_ISSOCK(mode):
            found.add(name.partition("+")[0])
    return sorted(found)
