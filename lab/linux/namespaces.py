"""What this machine lets us isolate, and the command lines of util-linux that do it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

#: Capabilities that no process in a VM has, so that it cannot set the machine's clock or reboot it.
_FORBIDDEN = "-sys_time,-sys_boot,-sys_module,-sys_rawio"
#: The network is always a VM's own, so that no agent can come near the host's links.
_SPACES = ("--mount", "--pid", "--uts", "--ipc", "--net")
_PROBE_SECONDS = 10.0
#: Before a command: it is killed when the process that started it ends, however that ends. An absolute path, as the
#: command may have a PATH of its own.
DIE_WITH_PARENT = (shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL", "--")
#: Set for the whole lab, also for tests, to do as if namespaces were not allowed.
DENY = "LAB_NO_NAMESPACES"


def _works(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _in_user_namespace() -> bool:
    """Whether this process is root only among its own."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != ["0", "0", str((1 << 32) - 1)]


@dataclass(frozen=True, slots=True)
class Isolation:
    """``user``: a user namespace is needed. ``vms``: VMs have own files, processes, names. ``network``: and links."""

    user: bool
    vms: bool
    network: bool

    @classmethod
    def probe(cls) -> Isolation:
        """Find out, once, by trying."""
        user = os.geteuid() != 0
        start = ["unshare", *(["--user", "--map-root-user"] if user else []), *_SPACES, "--fork"]
        if os.environ.get(DENY) or not _works([*start, "mount", "-t", "tmpfs", "none", "/mnt"]):
            return cls(user, vms=False, network=False)
        link = [ip_program() or "ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"]
        return cls(user, vms=True, network=_works([*start, *link]))

    def describe(self) -> str:
        """Return one line for an admin."""
        if not self.vms:
            return "no namespaces here: VMs are folders (agent --root), without own network, processes or host name"
        user = " (inside one user namespace)" if self.user or _in_user_namespace() else ""
        network = "own network" if self.network else f"but no network: {why_no_network()}"
        return f"VMs have own files, processes and host name, {network}{user}"

    def supervisor(self, command: Sequence[str]) -> list[str]:
        """Return *command* so that it may make VMs."""
        if not (self.user and self.vms):
            return list(command)
        return ["unshare", "--user", "--map-root-user", *command]

    def vm(self, command: Sequence[str]) -> list[str]:
        """Return *command* as the first process of a new VM, killed when its parent dies."""
        return [
            *DIE_WITH_PARENT[:-1], "--bounding-set", _FORBIDDEN, "--",
            "unshare", *_SPACES, "--propagation", "private", "--fork", "--kill-child", "--", *command,
        ]  # fmt: skip

    def enter(self, init: int, command: Sequence[str]) -> list[str]:
        """Return *command* as a further process of the VM whose first process is *init*."""
        user: list[str] = []
        if os.readlink(f"/proc/{init}/ns/user") != os.readlink("/proc/self/ns/user"):
            user = ["--user", "--preserve-credentials"]
        return [
            "nsenter", "--target", str(init), *user, *_SPACES, "--root", "--wd", "--",
            "setpriv", "--bounding-set", _FORBIDDEN, "--", *command,
        ]  # fmt: skip


def ip_program() -> str | None:
    """Return the path of iproute2's program, None where it is not installed; users may not have it in their PATH."""
    return shutil.which("ip", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def why_no_network() -> str:
    """Return what keeps VMs on this machine from having a network."""
    if ip_program() is None:
        return "the program ip is missing (Debian package iproute2)"
    return "this machine lets nobody make veth links"


def in_network_of(pid: int, command: Sequence[str]) -> list[str]:
    """Return *command* so that it sees the links of *pid*."""
    return ["nsenter", "--target", str(pid), "--net", "--", *command]
