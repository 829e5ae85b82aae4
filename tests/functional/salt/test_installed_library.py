"""What an installed host has Salt sync: its faces and one file that finds the library, which lies outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: Files that Salt may sync in all. Each of them costs every salt-call on the host some 1,000 function calls.
SYNCED = 25
#: The one in place of the library.
FINDER = "utils/vminterface/__init__.py"


class Host:
    """A masterless minion below *folder* with what tools/install puts there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.library = folder, folder / "lib"
        places = {"SALT": "srv/salt", "PILLAR": "srv/pillar", "SHARE": "share", "LIBRARY": "lib"}
        self._places = {name: f"{folder}/{place}" for name, place in places.items()}
        config = {
            "id": "host",
            "file_client": "local",
            "enable_fqdns_grains": False,
            "root_dir": str(folder / "run"),
            "file_roots": {"base": [f"{folder}/srv/salt"]},
            "pillar_roots": {"base": [f"{folder}/srv/pillar"]},
        }
        (folder / "etc").mkdir()
        (folder / "etc/minion").write_text(json.dumps(config))

    def install(self, tool: str = "install", **settings: str) -> None:
        environment = {**os.environ, "MINION_ID": "host", **self._places, **settings}
        subprocess.run([ROOT / "tools" / tool], env=environment, check=True, capture_output=True, timeout=60)

    def call(self, *words: str) -> str:
        """Return what ``salt-call`` prints, errors too, without the library on Python's own path."""
        unset = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        environment = {key: value for key, value in os.environ.items() if key not in unset}
        salt_call = str(Path(sys.executable).with_name("salt-call"))
        command = [salt_call, "-c", f"{self.folder}/etc", "--local", "--out=json", *words]
        environment["XENSTORED_PATH"] = str(self.folder / "none")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        return done.stdout + done.stderr

    def synced(self) -> set[str]:
        """Return the files that Salt has synced, without what Python has compiled of them."""
        extmods = self.folder / "run/var/cache/salt/minion/extmods"
        found = {str(path.relative_to(extmods)) for path in extmods.rglob("*") if not path.is_dir()}
        return {path for path in found if "__pycache__" not in path}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_salt_syncs_few_files_and_what_they_need_is_found(host: Host) -> None:
    host.install()
    host.call("saltutil.sync_all")
    assert FINDER in host.synced()
    assert len(host.synced()) <= SYNCED
    assert "no XenStore: none of" in host.call("qubes_vm.vms")
    assert (host.library / "vminterface/keys.py").is_file()


def test_what_an_older_installation_has_synced_is_gone_after_the_next_sync(host: Host) -> None:
    host.install(LIBRARY="")
    host.call("saltutil.sync_all")
    assert len(host.synced()) > 100
    host.call("qubes_vm.vms")
    host.install()
    host.call("saltutil.sync_all")
    assert {path for path in host.synced() if path.startswith("utils/")} == {FINDER}
    folders = host.folder.glob("run/var/cache/salt/minion/extmods/utils/vminterface/*/")
    assert {path.name for path in folders} <= {"__pycache__"}
    host.install("uninstall")
    host.call("saltutil.sync_all")
    assert host.synced() == set()
    assert not host.library.exists()


def test_a_host_without_the_library_says_so_and_what_to_do(host: Host) -> None:
    host.install()
    host.call("saltutil.sync_all")
    shutil.rmtree(host.library)
    said = host.call("qubes_vm.vms")
    assert f"the library vminterface is not in {host.library} on this host (expected" in said
    assert "make install TOPS=no" in said


@pytest.mark.any_salt
def test_what_vms_get_of_dom0s_folders_has_the_library(host: Host) -> None:
    """``qubesctl`` copies /srv to the VM that applies the states, links as what they lead to."""
    host.install()
    shutil.copytree(host.folder / "srv", host.folder / "copy")
    copied = host.folder / "copy/salt/vminterface/library"
    assert (copied / "keys.py").read_bytes() == (ROOT / "_utils/vminterface/keys.py").read_bytes()
    assert not copied.is_symlink()


@pytest.mark.any_salt
def test_the_command_of_an_installed_host_exports_all_of_it(host: Host) -> None:
    host.install()
    command = [sys.executable, "-m", "vminterface", "formula", "--export", f"{host.folder}/exported"]
    environment = {**os.environ, "PYTHONPATH": str(host.folder / "srv/salt/_utils")}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    exported = {str(path.relative_to(host.folder / "exported")) for path in (host.folder / "exported").rglob("*.*")}
    assert {"vminterface/init.sls", "_modules/qubes_vm.py", "_utils/vminterface/keys.py"} <= exported
    assert "vminterface/library" not in exported
