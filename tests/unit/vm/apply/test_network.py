"""The interfaces of a host are never changed for a folder on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vminterface.errors import VMInterfaceError
from vminterface.vm.apply import network, provider
from vminterface.vm.machine.machine import Machine


class FolderOnHost(Machine):
    has_own_network = False

    def run(self, argv: Sequence[str], **options: Any) -> NoReturn:
        raise AssertionError(f"ran {argv}")


def test_a_client_network_is_refused(tmp_path: Path) -> None:
    inputs = {"network:ip": "10.137.0.12", "network:gateway": "10.137.0.5"}
    with pytest.raises(VMInterfaceError, match="a folder of a host"):
        network.apply(inputs, FolderOnHost(str(tmp_path)))


def test_providing_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VMInterfaceError, match="a folder of a host"):
        provider.apply({"provides_network:gateway": "10.137.0.5"}, FolderOnHost(str(tmp_path)))
