"""The name step on a whole machine: a namespace whose host name and ``/etc`` are the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vminterface.vm.machine import machine as machine_module

LIBRARY = Path(machine_module.__file__).parents[3]
PROGRAM = """
import os, sys
from vminterface.vm.apply import name
from vminterface.vm.machine.machine import Machine
machine = Machine("/")
print(name.apply({"name": "work"}, machine))
print(os.uname().nodename)
print(open("/etc/hostname").read(), end="")
"""


def in_namespace(*mounts: str) -> list[str]:
    script = "".join(f"mount {mount} && " for mount in mounts) + 'exec "$@"'
    done = subprocess.run(
        ["unshare", "-rmu", "sh", "-c", script, "sh", sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(LIBRARY), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_kernel_gets_the_name(tmp_path: Path) -> None:
    assert in_namespace(f"--bind {tmp_path} /etc") == ["host name work", "work", "work"]


def test_a_file_that_is_a_mount_of_its_own_is_rewritten_in_place(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "hostname").touch()
    kept = tmp_path / "kept"
    kept.write_text("a much longer name than the new one\n")
    said = in_namespace(f"--bind {kept} {etc}/hostname", f"--rbind {etc} /etc")
    assert said == ["host name work", "work", "work"]
    assert kept.read_text() == "work\n"
    assert list(etc.iterdir()) == [etc / "hostname"]
