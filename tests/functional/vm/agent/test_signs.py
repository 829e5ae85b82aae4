"""What wakes an agent besides its store: files that come, go or change, and interfaces."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import PROJECT
from vminterface.vm.agent.signs import Signs
from vminterface.vm.machine.machine import Machine

FILE = "/etc/folder/agent.conf"


def woken(signs: Signs, seconds: float = 5.0) -> bool:
    return bool(select.select(signs.descriptors, [], [], seconds)[0])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_a_file_wakes_when_its_folder_comes_then_it_and_at_each_change(root: Path) -> None:
    signs = Signs(Machine(str(root)), [FILE])
    assert signs.complete
    for change in (
        (root / "etc/folder").mkdir,
        lambda: (root / FILE[1:]).write_text("other-settings = refuse\n"),
        lambda: (root / FILE[1:]).write_text("other-settings = accept\n"),
        (root / FILE[1:]).unlink,
    ):
        change()
        assert woken(signs)
        signs.clear()
        assert not woken(signs, 0)
    signs.close()


def test_the_file_that_a_link_leads_to_wakes_too(root: Path) -> None:
    real = root / "run/resolve/resolv.conf"
    real.parent.mkdir(parents=True)
    real.write_text("nameserver 192.0.2.1\n")
    (root / "etc/resolv.conf").symlink_to("../run/resolve/resolv.conf")
    signs = Signs(Machine(str(root)), ["/etc/resolv.conf"])
    for number in (2, 3):
        new = real.with_name("new")
        new.write_text(f"nameserver 192.0.2.{number}\n")
        new.rename(real)
        assert woken(signs)
        signs.clear()
    signs.close()


def test_what_lies_out_of_the_machine_leaves_somebody_to_look(root: Path) -> None:
    (root / "etc/folder").symlink_to("/")
    assert not Signs(Machine(str(root)), [FILE]).complete


def test_an_interface_that_comes_wakes(root: Path) -> None:
    code = (
        "import select, subprocess, sys\n"
        "from vminterface.vm.agent.signs import Signs\n"
        "from vminterface.vm.machine.machine import Machine\n"
        "signs = Signs(Machine(sys.argv[1]), [])\n"
        "subprocess.run(['ip', 'link', 'add', 'one', 'type', 'veth', 'peer', 'name', 'two'], check=True)\n"
        "assert select.select(signs.descriptors, [], [], 5)[0]\n"
        "signs.clear()\n"
        "assert not select.select(signs.descriptors, [], [], 0)[0]\n"
    )
    command = ["unshare", "-rn", sys.executable, "-c", code, str(root)]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(PROJECT / "_utils")}, check=True, timeout=60)
