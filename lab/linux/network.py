"""The links between VMs: the other end of a client's ``eth0`` is ``vif<domid>.0`` in the VM that is its netvm."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence

from lab.linux.namespaces import in_network_of, ip_program
from vminterface.errors import ProgramFailed

#: What every backend end has on Qubes; a client finds its gateway by it.
BACKEND_MAC = "fe:ff:ff:ff:ff:ff"
_SECONDS = 10.0


def client_mac(index: int) -> str:
    """Return the address of the *index*-th VM's ``eth0``; Qubes' default is the one of 0."""
    return f"00:16:3e:5e:6c:{index & 0xFF:02x}"


def _ip(pid: int, words: Sequence[str]) -> None:
    command = in_network_of(pid, [ip_program() or "ip", *words])
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        raise ProgramFailed(f"ip {' '.join(words)}: {done.stderr.strip()[:200]}")


def start(pid: int) -> None:
    """Bring up the loopback of the VM whose first process is *pid*."""
    _ip(pid, ["link", "set", "lo", "up"])


def add_uplink(pid: int, mac: str) -> None:
    """Give a provider without a netvm an ``eth0`` that leads nowhere."""
    _ip(pid, ["link", "add", "eth0", "address", mac, "type", "veth", "peer", "name", "outside"])
    _ip(pid, ["link", "set", "outside", "up"])


def connect(client: int, domid: int, provider: int, mac: str) -> None:
    """Link the VMs whose first processes are *client* (domain *domid*) and *provider*."""
    vif = f"vif{domid}.0"
    disconnect(client)  # what is left from a provider that was started again
    _ip(
        provider,
        ["link", "add", vif, "address", BACKEND_MAC, "type", "veth", "peer", "name", "eth0", "address", mac,
         "netns", str(client)],
    )  # fmt: skip
    _ip(provider, ["link", "set", vif, "up"])


def disconnect(client: int) -> None:
    """Take the link of the VM whose first process is *client* away, if it has one; the other end goes with it."""
    with contextlib.suppress(ProgramFailed):
        _ip(client, ["link", "delete", "eth0"])
