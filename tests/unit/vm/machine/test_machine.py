"""Whose network it is that a program sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stores import need
from vminterface.vm.machine.machine import Machine


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
    question = (
        "import sys; from vminterface.vm.machine.machine import Machine; print(Machine(sys.argv[1]).has_own_network)"
    )
    words = [*command, sys.executable, "-c", question, str(folder)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30)
    if done.returncode and "unshare" in done.stderr:
        need(f"this machine lets nobody make namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
