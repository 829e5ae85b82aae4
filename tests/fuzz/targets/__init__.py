"""All targets: one table a file, by what they are of."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.fuzz.targets import (
    command,
    dom0,
    firewall,
    lists,
    network,
    pictures,
    pillar,
    replies,
    rpc,
    settings,
    stores,
    vm,
    wire,
)

TABLES = (settings, network, firewall, rpc, replies, lists, pictures, wire, stores, pillar, dom0, command, vm)
TARGETS: dict[str, Target] = {target.name: target for table in TABLES for target in table.TARGETS}
assert len(TARGETS) == sum(len(table.TARGETS) for table in TABLES), "two targets of one name"
