"""The VM's name as its host name: the kernel's, ``/etc/hostname``, and the loopback lines of ``/etc/hosts``.

The rule for ``/etc/hosts`` is that of Qubes core-agent's ``qubes-early-vm-config.sh``: the last name of the line
is the machine's; names of the loopback address itself are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vminterface.errors import VMInterfaceError
from vminterface.regex import regex
from vminterface.values.acknowledgement import UNCHANGED
from vminterface.values.vmname import VMName
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.programs import Programs
from vminterface.vm.machine.protection import is_protected

HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
KERNEL = "/proc/sys/kernel/hostname"
_OF_LOOPBACK = regex(r"localhost|localhost[.\d].*|ip6-\w+|loopback", re.ASCII)


def apply(inputs: Mapping[str, str], machine: Machine) -> str:
    """Make ``name`` the host name and return what holds now; without it, the host name stays.

    The kernel's host name is set only where *machine* is the whole machine. Raises InvalidValue and VMInterfaceError.
    """
    if "name" not in inputs:
        return "no name from dom0: left unchanged"
    name = VMName.parse(inputs["name"]).render()
    if is_protected(machine, HOSTNAME):
        return f"{UNCHANGED}{HOSTNAME} is protected in this VM"
    desired = {HOSTNAME: f"{name}\n"}
    hosts = machine.read_text(HOSTS)
    if hosts is not None and not is_protected(machine, HOSTS):
        ipv4 = "127.0.1.1" if machine.exists("/etc/debian_version") else "127.0.0.1"
        desired[HOSTS] = "".join(_renamed(line, (ipv4, "::1"), name) for line in hosts.splitlines(keepends=True))
    put_back = [machine.keep(path) for path in desired]
    try:
        for path, text in desired.items():
            if machine.read_text(path) != text:
                machine.write_file(path, text)
        if machine.is_whole and (machine.read_text(KERNEL) or "").rstrip("\n") != name:
            _set_hostname(machine, name)
    except VMInterfaceError:
        for one in put_back:
            one()
        raise
    return f"host name {name}"


def _set_hostname(machine: Programs, name: str) -> None:
    if machine.which("hostname"):
        machine.run(["hostname", name])
        return
    try:
        with open(KERNEL, "w", encoding="ascii") as file:
            file.write(name)
    except OSError as error:
        raise VMInterfaceError(f"{KERNEL}: {error.strerror}") from None


def _renamed(line: str, addresses: tuple[str, ...], name: str) -> str:
    """Return the line of ``/etc/hosts`` with *name* as its last name, if it is the line of one of *addresses*."""
    entry, comment = re.fullmatch(r"([^#\n]*?)(\s*(?:#.*)?\n?)", line, re.DOTALL).groups()  # type: ignore[union-attr]
    words = entry.split()
    if len(words) < 2 or words[0] not in addresses or words[-1] == name:
        return line
    if _OF_LOOPBACK.fullmatch(words[-1]):
        return f"{entry} {name}{comment}"
    return f"{entry[: -len(words[-1])]}{name}{comment}"
