"""What the two kinds of dom0 have in common though each opens its stores in its own way."""

from __future__ import annotations

from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost

Host = Dom0 | QubesHost


def write(host: Host, vm: str, name: str, value: bytes) -> None:
    """Write a key of the running *vm* as another program of dom0 does."""
    if isinstance(host, QubesHost):
        with host.store(vm) as store:
            store.write(f"/{name}", value)
    else:
        with host.store() as store:
            store.write(f"/local/domain/{host.domids[vm]}/{name}", value)
