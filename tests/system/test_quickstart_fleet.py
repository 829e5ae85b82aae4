"""docs/quickstart-fleet.md, followed word for word, with a real master and the minions of two hosts.

The master's folders are not this machine's: ``/srv`` and ``/etc/salt`` of the page are folders of the test, and in
place of systemd the test starts the master anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support import saltdaemons
from tests.support.dom0 import Dom0
from tests.support.lab_store import wait_until
from tests.support.release import archive
from tests.support.walkthrough import blocks, walk

pytestmark = [
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.timeout(600),
]
PAGE = PROJECT / "docs/quickstart-fleet.md"
HOSTS = ("dom0-paris", "dom0-warsaw")
MINION = {
    "enable_fqdns_grains": False,
    # They come back to a master that was restarted at once, rather than at some time in the next 20 s.
    "recon_default": 200,
    "recon_max": 500,
    "recon_randomize": False,
    # Salt's own default: beacons count their interval in these, and pytest-salt-factories makes twenty of a second.
    "loop_interval": 1,
}
#: How often a VM is started before nothing is expected of the reactor any more.
STARTS = 4
RESTART = "systemctl restart salt-master\n"

saltdaemons.drop_log_handlers()


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: Any) -> dict[str, Any]:
    return saltdaemons.factories(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[dict[str, Dom0]]:
    """The hosts by their minion's ID; each has the VM called work, whose agent accepts everything."""
    made: dict[str, Dom0] = {}
    try:
        for name in HOSTS:
            made[name] = Dom0(tmp_path / name).__enter__()
            made[name].start_vm("work")
            made[name].agent("work")
        yield made
    finally:
        for host in made.values():
            host.__exit__(None, None, None)


@pytest.fixture
def master(salt_factories: Any, tmp_path: Path, hosts: dict[str, Dom0]) -> Iterator[Any]:
    """The master, at work with its minions; its roots are below *tmp_path*."""
    overrides = {
        "interface": "127.0.0.1",
        "file_roots": {"base": [f"{tmp_path}/srv/salt"]},
        "pillar_roots": {"base": [f"{tmp_path}/srv/pillar"]},
        "default_include": f"{tmp_path}/etc/salt/master.d/*.conf",
    }
    daemon = salt_factories.salt_master_daemon("master", overrides=overrides)
    minions = []
    for name, host in hosts.items():
        minion = daemon.salt_minion_daemon(name, overrides=dict(MINION))
        # Hosts of one machine have folders of their own.
        own = {f"VMINTERFACE_{one}": f"{tmp_path}/{name}-own/{one}" for one in ("LOCK_DIR", "LOG_DIR", "ROLLOUTS")}
        minion.environ = {**minion.environ, **own, "XENSTORED_PATH": host.path}
        minions.append(minion)
    with daemon.started():
        for minion in minions:
            minion.start()
        try:
            yield daemon
        finally:
            for minion in minions:
                minion.terminate()


def restarted(host: Dom0) -> bool:
    """Start the VM called work anew; say whether it then gets its settings.

    A start before the beacon's first look, or while the minion looks for the master's new process, is news to nobody.
    """
    host.stop_vm("work")
    host.start_vm("work")
    host.agent("work")
    return wait_until(lambda: host.read("work", "qubes-timezone") == "Europe/Warsaw", 15)


class Shell:
    """The master's shell: Salt's commands find the test's configuration, the page's folders are the test's."""

    def __init__(self, folder: Path, master: Any) -> None:
        self._folder = folder
        self._master = master
        programs = folder / "bin"
        programs.mkdir()
        for name in ("salt", "salt-run"):
            program = programs / name
            real, options = Path(sys.executable).with_name(name), "--timeout=60" if name == "salt" else ""
            program.write_text(f'#!/bin/sh\nexec {real} --config-dir={master.config_dir} {options} "$@"\n')
            program.chmod(0o755)
        self._environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DESTDIR": str(folder)}
        self._place = folder

    def run(self, commands: str) -> str:
        """Run *commands* in the folder where the last ones ended; return what they print."""
        if commands == RESTART:
            self._master.terminate()
            self._master.start()
            return ""
        done = subprocess.run(
            ["bash", "-c", f"set -e\n{commands}\npwd"],
            cwd=self._place,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{commands}{done.stdout}"
        printed, _, place = done.stdout.rstrip("\n").rpartition("\n")
        self._place = Path(place)
        return printed


def test_a_fleet_gets_its_settings_and_a_vm_that_starts_later_too(
    tmp_path: Path, hosts: dict[str, Dom0], master: Any
) -> None:
    archive(tmp_path)
    shell = Shell(tmp_path, master)
    folders = {there: f"{tmp_path}{there}" for there in ("/srv/", "/etc/salt/")}
    assert walk(PAGE, {"master": shell.run}, folders) >= 6
    assert {host.read("work", "qubes-timezone") for host in hosts.values()} == {"Europe/Paris", "Europe/Warsaw"}

    warsaw = hosts["dom0-warsaw"]
    assert any(restarted(warsaw) for _ in range(STARTS)), shell.run("salt '*' beacons.list\n")
    assert warsaw.read("work", "qubes-service/cups") == "0"


def test_the_configuration_of_gitfs_is_yaml_that_names_modules_and_formula() -> None:
    (block,) = [block for block in blocks(PAGE) if block.word == "gitfs"]
    remotes = yaml.safe_load(block.text)["gitfs_remotes"]
    roots = []
    for remote in remotes:
        (options,) = remote.values()
        roots.append(next((option["root"] for option in options if "root" in option), ""))
    assert roots == ["", "formulas"]
    assert (PROJECT / "_modules").is_dir()
    assert (PROJECT / "formulas/vminterface").is_dir()
