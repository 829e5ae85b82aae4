"""A qubesd with a template, a provider and two VMs, and the keys that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.qubesd import Machines, Qube, Qubesd
from tests.support.qubesdcalls import Vm


class Keys(dict[str, dict[str, str]], Machines):
    """The QubesDBs of VMs: empty at the start of each, as a daemon that is new."""

    def create(self, vm: str) -> None:
        self[vm] = {}

    def destroy(self, vm: str) -> None:
        del self[vm]

    def __call__(self, vm: str, key: str, value: str | None) -> None:
        if value is not None:
            self[vm][key] = value
        elif key.endswith("/"):
            self[vm] = {path: text for path, text in self[vm].items() if not path.startswith(key)}
        else:
            self[vm].pop(key, None)

    def below(self, vm: str, folder: str) -> dict[str, str]:
        """What *vm* has below *folder*, by the rest of the key."""
        found = self.get(vm, {})
        return {path.removeprefix(f"{folder}/"): text for path, text in found.items() if path.startswith(f"{folder}/")}


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def qubesd(tmp_path: Path, keys: Keys) -> Iterator[Qubesd]:
    qubes = {
        "fedora": Qube("TemplateVM", features={"qubes-firewall": "1"}, properties={"label": "black"}),
        "sys-net": Qube(properties={"template": "fedora", "provides_network": "True", "netvm": "", "label": "red"}),
        "work": Qube(properties={"template": "fedora", "label": "blue"}),
        "personal": Qube(properties={"template": "fedora", "label": "green"}),
    }
    with Qubesd(tmp_path / "qubesd.sock", qubes, keys, keys) as daemon:
        yield daemon


@pytest.fixture
def work(qubesd: Qubesd) -> Vm:
    return Vm(qubesd, "work")
