"""``make install`` leaves a dom0 that converges with one command more, and never touches what is the admin's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import fakexen
from tests.support.dom0 import Dom0

ROOT = Path(__file__).parents[3]


def install(destination: Path) -> str:
    command = ["make", "--no-print-directory", "install", f"DESTDIR={destination}"]
    env = {**os.environ, "MINION_ID": "host"}
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True, timeout=60).stdout


def test_a_second_install_renews_what_is_ours_and_leaves_what_is_the_admins(tmp_path):
    warning = "an example, to be made yours"
    assert warning in install(tmp_path)
    pillar, top = tmp_path / "srv/pillar/vminterface.sls", tmp_path / "srv/salt/top.sls"
    library = tmp_path / "srv/salt/_utils/vminterface/keys.py"
    theirs = tmp_path / "srv/salt/_modules/theirs.py"
    for file in (pillar, top, library, theirs):
        file.write_text("changed")
    (tmp_path / "srv/salt/_utils/vminterface/gone.py").write_text("no longer shipped")
    said = install(tmp_path)
    assert f"left as it is: {pillar}" in said
    assert warning not in said
    assert pillar.read_text() == top.read_text() == theirs.read_text() == "changed"
    assert library.read_text() != "changed"
    assert not (tmp_path / "srv/salt/_utils/vminterface/gone.py").exists()


def test_no_package_files_and_no_caches_are_installed(tmp_path):
    install(tmp_path)
    names = {path.name for path in tmp_path.rglob("*")}
    assert not {name for name in names if name.startswith(".") or name == "__pycache__"}
    assert not (tmp_path / "srv/salt/_modules/__init__.py").exists()


def test_on_qubes_it_leaves_the_top_file_to_qubesctl(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/qubes-release").touch()
    assert "qubesctl top.enable vminterface" in install(tmp_path)
    assert not (tmp_path / "srv/salt/top.sls").exists()
    assert (tmp_path / "srv/pillar/vminterface.top").exists()


@pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())
def test_the_installed_tree_converges_with_one_highstate(tmp_path):
    install(tmp_path)
    config = tmp_path / "minion"
    config.mkdir()
    settings = {
        "id": "host",
        "file_client": "local",
        "root_dir": str(tmp_path / "run"),
        "file_roots": {"base": [str(tmp_path / "srv/salt")]},
        "pillar_roots": {"base": [str(tmp_path / "srv/pillar")]},
    }
    (config / "minion").write_text(json.dumps(settings))
    with Dom0(tmp_path / "x") as dom0:
        dom0.start_vm("work")
        dom0.agent("work")
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        command = [str(Path(sys.executable).parent / "salt-call"), "--config-dir", str(config), "--local"]
        done = subprocess.run(
            [*command, "--out", "json", "--retcode-passthrough", "state.highstate"],
            env={**env, "XENSTORED_PATH": dom0.path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert dom0.read("work", "qubes-timezone") == "America/Indiana/Indianapolis"
        assert all(state["result"] for state in json.loads(done.stdout)["local"].values())
