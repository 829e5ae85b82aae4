"""The XenStore nodes of a domain as ``xl`` makes them (libxl_create.c, libxl_dom.c) and Qubes' dom0 adds to them.

And the one key that the lab's VMs read of those that R3's dom0 writes into a QubesDB before its VM starts.
"""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from vminterface.channel.store import KeyStore
from vminterface.errors import KeyNotFound

#: What dom0 lets the VM write: memory statistics, device lists, and the answers of its agent.
_OWNED_BY_VM = ("memory", "qubes-block-devices", "qubes-usb-devices", "vminterface")


def _memory_kib() -> int:
    """A lab VM's memory is the machine's: what it reports of its use is of that."""
    first, _rest = Path("/proc/meminfo").read_text().split("\n", 1)
    return int(first.split()[1])


def add_domain(store: KeyStore, name: str, domid: int, *, hotplug: bool = False) -> None:
    """Make the nodes of a new domain, all at once; with *hotplug* its memory's maximum is beside ``static-max``."""
    home, vm = f"/local/domain/{domid}", f"/vm/{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}.lab')}"
    readable = ["n0", f"r{domid}"]
    memory = str(_memory_kib())

    def make(view: KeyStore) -> None:
        for folder in (home, vm):
            view.write(folder, b"")
            view.set_permissions(folder, readable)
        values = {
            f"{vm}/name": name,
            f"{vm}/uuid": vm.rpartition("/")[2],
            f"{home}/vm": vm,
            f"{home}/name": name,
            f"{home}/domid": str(domid),
            f"{home}/control": "",
            f"{home}/device": "",
            **{f"{home}/{folder}": "" for folder in _OWNED_BY_VM},
            f"{home}/memory/static-max": memory,
            f"{home}/memory/target": memory,
            **({f"{home}/memory/hotplug-max": memory} if hotplug else {}),
        }
        for path, value in values.items():
            view.write(path, value.encode())
        for folder in _OWNED_BY_VM:
            view.set_permissions(f"{home}/{folder}", [f"n{domid}"])
        for path in ("static-max", "target", *(["hotplug-max"] if hotplug else [])):
            view.set_permissions(f"{home}/memory/{path}", readable)

    store.transaction(make)


def fill_qubesdb(store: KeyStore, name: str) -> None:
    """Write the first key of a VM where no qubesd does it."""
    store.write("/name", name.encode())


def add_link(store: KeyStore, client: int, provider: int, mac: str) -> None:
    """Tell both domains of the network device 0 of *client*, served by *provider*."""
    front, back = f"/local/domain/{client}/device/vif/0", f"/local/domain/{provider}/backend/vif/{client}/0"

    def make(view: KeyStore) -> None:
        sides = (
            (front, {"backend": back, "backend-id": str(provider), "handle": "0", "mac": mac}, client, provider),
            (back, {"frontend": front, "frontend-id": str(client), "handle": "0", "mac": mac}, provider, client),
        )
        for path, values, owner, reader in sides:
            view.write(path, b"")
            view.set_permissions(path, [f"n{owner}", f"r{reader}"])
            for key, value in values.items():
                view.write(f"{path}/{key}", value.encode())

    store.transaction(make)


def remove_link(store: KeyStore, client: int, provider: int | None) -> None:
    """Take both ends of the network device 0 of *client* away."""
    ends = [f"/local/domain/{client}/device/vif/0"]
    if provider is not None:
        ends.append(f"/local/domain/{provider}/backend/vif/{client}")
    for path in ends:
        with contextlib.suppress(KeyNotFound):
            store.remove(path)


def remove_domain(store: KeyStore, name: str, domid: int, provider: int | None) -> None:
    """Remove what is left of a domain that is gone."""
    leftover = [f"/local/domain/{domid}", f"/vm/{uuid.uuid5(uuid.NAMESPACE_DNS, f'{name}.lab')}"]
    if provider is not None:
        leftover.append(f"/local/domain/{provider}/backend/vif/{domid}")
    for path in leftover:
        with contextlib.suppress(KeyNotFound):
            store.remove(path)
