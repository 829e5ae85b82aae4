"""The interfaces of a host are never changed for a folder on it: only a network seen to be another is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stores import need
from vminterface.errors import VMInterfaceError
from vminterface.vm.apply import network, provider
from vminterface.vm.machine import Machine


class FolderOnHost(Machine):
    has_own_network = False

    def run(self, argv, **options):  # type: ignore[no-untyped-def]
        raise AssertionError(f"ran {argv}")


def test_a_client_network_is_refused(tmp_path: Path) -> None:
    inputs = {"network:ip": "10.137.0.12", "network:gateway": "10.137.0.5"}
    with pytest.raises(VMInterfaceError, match="a folder on a host"):
        network.apply(inputs, FolderOnHost(str(tmp_path)))


def test_providing_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VMInterfaceError, match="a folder on a host"):
        provider.apply({"provides_network:gateway": "10.137.0.5"}, FolderOnHost(str(tmp_path)))


def test_a_machine_that_is_whole_has_its_own_network() -> None:
    assert Machine("/").has_own_network


def test_a_folder_in_the_network_of_process_1_has_no_own_network(tmp_path: Path) -> None:
    assert inside(tmp_path, "unshare", "-rpf", "--mount-proc") == "False"


def test_a_folder_in_another_network_than_that_of_process_1_has_its_own(tmp_path: Path) -> None:
    assert inside(tmp_path, "unshare", "-rn") == "True"


@pytest.mark.parametrize("hidden", ["/proc", "/proc/1"])
def test_a_folder_has_no_own_network_where_that_of_process_1_cannot_be_seen(tmp_path: Path, hidden: str) -> None:
    cover = 'mount -t tmpfs none "$0" && exec "$@"'
    assert inside(tmp_path, "unshare", "-rnm", "sh", "-c", cover, hidden) == "False"


def inside(folder: Path, *command: str) -> str:
    """What a program that *command* starts says of the machine in *folder*."""
    question = "import sys; from vminterface.vm.machine import Machine; print(Machine(sys.argv[1]).has_own_network)"
    words = [*command, sys.executable, "-c", question, str(folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30)
    if done.returncode and "unshare" in done.stderr:
        need(f"this machine lets nobody make namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
