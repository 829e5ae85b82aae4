"""``make install`` leaves a dom0 that converges with one command more, and never touches what is the admin's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0

ROOT = Path(__file__).parents[3]


SALT_CALL = Path(sys.executable).parent / "salt-call"


def install(destination: Path | str, *, checkout: Path = ROOT, goal: str = "install", **environment: str) -> str:
    command = ["make", "--no-print-directory", goal, f"DESTDIR={destination}"]
    env = {**os.environ, "MINION_ID": "host", **environment}
    return subprocess.run(command, cwd=checkout, env=env, check=True, capture_output=True, text=True, timeout=60).stdout


def tops(destination: Path) -> list[object]:
    return [yaml.safe_load((destination / "srv" / name / "top.sls").read_text()) for name in ("salt", "pillar")]


def tops_for(minion: str) -> list[object]:
    """The top files of states and pillar: this minion has what is pushed, all others what their side is told."""
    others = {f"not {minion}": [{"match": "compound"}, "vminterface-vms"]}
    return [{"base": {minion: ["vminterface"]}}, {"base": {minion: ["vminterface"], **others}}]


@pytest.mark.any_salt
def test_a_second_install_renews_what_is_ours_and_leaves_what_is_the_admins(tmp_path: Path) -> None:
    warning = "nothing is pushed until your VMs are in"
    assert warning in install(tmp_path)
    pillar, top = tmp_path / "srv/pillar/vminterface.sls", tmp_path / "srv/salt/top.sls"
    library = tmp_path / "usr/local/lib/vminterface/vminterface/keys.py"
    theirs = tmp_path / "srv/salt/_modules/theirs.py"
    for file in (pillar, top, library, theirs):
        file.write_text("changed")
    gone = [library.with_name("gone.py"), tmp_path / "srv/salt/_utils/vminterface/gone.py"]
    for file in gone:
        file.write_text("no longer shipped")
    said = install(tmp_path)
    assert f"left as it is: {pillar}" in said
    assert warning not in said
    assert pillar.read_text() == top.read_text() == theirs.read_text() == "changed"
    assert library.read_text() != "changed"
    assert not any(file.exists() for file in gone)


@pytest.mark.any_salt
def test_a_top_file_of_the_admins_that_does_not_name_the_formula_is_pointed_out(tmp_path: Path) -> None:
    top = tmp_path / "srv/salt/top.sls"
    top.parent.mkdir(parents=True)
    top.write_text("base: {'*': [mine]}")
    said = install(tmp_path)
    assert f"left as it is: {top}; name vminterface there for 'host', else nothing is pushed\n" in said
    top.write_text("base: {'*': [mine, vminterface]}")
    assert f"left as it is: {top}\n" in install(tmp_path)


@pytest.mark.any_salt
def test_no_package_files_and_no_caches_are_installed(tmp_path: Path) -> None:
    install(tmp_path)
    names = {path.name for path in tmp_path.rglob("*")}
    assert not {name for name in names if name.startswith(".") or name == "__pycache__"}
    assert not (tmp_path / "srv/salt/_modules/__init__.py").exists()


def files(destination: Path) -> set[str]:
    return {str(path.relative_to(destination)) for path in destination.rglob("*") if not path.is_dir()}


@pytest.mark.any_salt
def test_without_tops_no_top_file_is_written_and_the_library_is_where_minions_sync_it_from(tmp_path: Path) -> None:
    install(tmp_path / "with", LIBRARY="")
    install(tmp_path / "without", TOPS="no")
    left_out = files(tmp_path / "with") - files(tmp_path / "without")
    assert left_out == {"srv/salt/top.sls", "srv/pillar/top.sls"}
    assert "srv/salt/_utils/vminterface/keys.py" in files(tmp_path / "without")


@pytest.mark.any_salt
@pytest.mark.parametrize("qubes", [False, True], ids=["plain", "qubes"])
def test_what_is_uninstalled_is_gone_but_for_what_the_admin_has_changed(tmp_path: Path, qubes: bool) -> None:
    theirs = {"srv/salt/_modules/theirs.py", "srv/salt/_utils/theirs.py", "srv/pillar/theirs.sls"}
    theirs |= {"etc/qubes-release"} if qubes else set()
    for name in theirs:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    install(tmp_path)
    if qubes:
        enabled = tmp_path / "srv/salt/_tops/base/vminterface.top"
        enabled.parent.mkdir(parents=True)
        enabled.symlink_to(tmp_path / "srv/salt/vminterface/init.top")
    pillar = tmp_path / "srv/pillar/vminterface.sls"
    shipped = pillar.read_text()
    pillar.write_text(shipped + "# edited\n")
    printed = install(tmp_path, goal="uninstall")
    assert f"left as it is: {pillar}, which is not as tools/install writes it" in printed
    assert files(tmp_path) == {*theirs, "srv/pillar/vminterface.sls"}
    assert not (tmp_path / "srv/salt/_states").exists()

    install(tmp_path)
    pillar.write_text(shipped)
    install(tmp_path, goal="uninstall")
    assert files(tmp_path) == theirs
    install(tmp_path, goal="uninstall")
    assert files(tmp_path) == theirs


@pytest.mark.any_salt
def test_on_qubes_it_leaves_the_top_file_to_qubesctl(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/qubes-release").touch()
    said = install(tmp_path)
    assert "qubesctl top.enable vminterface && qubesctl top.enable vminterface vminterface-vms pillar=true" in said
    assert "once now, and after each install: qubesctl --dom0-only saltutil.sync_all" in said
    assert not (tmp_path / "srv/salt/top.sls").exists()
    assert {path.name for path in (tmp_path / "srv/pillar").iterdir()} - {"vminterface.schema.json"} == {
        f"{name}.{kind}" for name in ("vminterface", "vminterface-vms") for kind in ("sls", "top")
    }


def test_the_top_files_name_the_minion_as_salt_does(tmp_path: Path) -> None:
    config = tmp_path / "minion"
    config.write_text(f"id: dom0.example\nroot_dir: {tmp_path / 'run'}\nenable_fqdns_grains: false\n")
    path = f"{SALT_CALL.parent}:{os.environ['PATH']}"
    install(tmp_path, MINION_ID="", PATH=path, SALT_MINION_CONFIG=str(config))
    assert tops(tmp_path) == tops_for("dom0.example")


@pytest.mark.any_salt
@pytest.mark.parametrize("script", ["exit 1", "echo local: a; exit 1", "echo local: a; echo local: b", "echo local:"])
def test_where_salt_does_not_say_its_name_it_is_that_of_the_machine(tmp_path: Path, script: str) -> None:
    salt_call = tmp_path / "bin/salt-call"
    salt_call.parent.mkdir()
    salt_call.write_text(f"#!/bin/sh\n{script}\n")
    salt_call.chmod(0o755)
    install(tmp_path, MINION_ID="", PATH=f"{salt_call.parent}:{os.environ['PATH']}")
    name = subprocess.run(["hostname"], check=True, capture_output=True, text=True).stdout.strip()
    assert tops(tmp_path) == tops_for(name)


@pytest.mark.any_salt
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_installs_is_roots_alone_whoever_owns_the_checkout(tmp_path: Path) -> None:
    checkout, root = tmp_path / "checkout", tmp_path / "root"
    # Like the checkout of an ordinary user whose group may write.
    names = [
        "Makefile",
        "CHANGELOG.md",
        "tools",
        "pillar",
        "formulas",
        "docs",
        *(path.name for path in ROOT.glob("_[a-z]*")),
    ]
    checkout.mkdir()
    for name in names:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, checkout / name)
    for path in [checkout, *checkout.rglob("*")]:
        os.chown(path, 1000, 1000)
        path.chmod(path.stat().st_mode | 0o022)
    before = os.umask(0)
    try:
        install(root, checkout=checkout)
    finally:
        os.umask(before)
    installed = {path: path.lstat() for path in root.rglob("*")}
    assert root / "srv/salt/_modules/qubes_vm.py" in installed
    assert root / "srv/pillar/vminterface.sls" in installed
    assert {path for path, found in installed.items() if (found.st_uid, found.st_gid) != (0, 0)} == set()
    assert {path for path, found in installed.items() if found.st_mode & 0o022 and not path.is_symlink()} == set()


def uncommented(pillar: str) -> str:
    """Return the installed *pillar* with its example made live, as its first lines say how."""
    head, _, example = pillar.partition("  vms: {}\n")
    assert "  # " not in head
    return head + "".join(line.replace("  # ", "  ", 1) for line in example.splitlines(keepends=True))


@pytest.mark.any_salt
def test_the_installed_pillar_is_the_shipped_one_as_a_comment(tmp_path: Path) -> None:
    install(tmp_path)
    installed = (tmp_path / "srv/pillar/vminterface.sls").read_text()
    assert yaml.safe_load(installed) == {"qubes": {"vms": {}}}
    shipped = (ROOT / "pillar/qubes/init.sls").read_text()
    assert uncommented(installed).partition("qubes:\n")[1:] == shipped.partition("qubes:\n")[1:]


@pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())
def test_the_installed_tree_pushes_nothing_until_its_pillar_is_edited_and_then_converges(tmp_path: Path) -> None:
    places = {"SALT": "srv/salt", "PILLAR": "srv/pillar", "SHARE": "share", "LIBRARY": "lib"}
    own = {name: f"{tmp_path}/{place}" for name, place in places.items()}
    install("", checkout=ROOT, goal="install", **own)
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
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def highstate(dom0: Dom0) -> dict[str, dict[str, object]]:
        command = [str(SALT_CALL), "--config-dir", str(config), "--local", "--out", "json", "--retcode-passthrough"]
        done = subprocess.run(
            [*command, "state.highstate"],
            env={**env, "XENSTORED_PATH": dom0.path},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = json.loads(done.stdout)["local"]
        assert all(line["result"] for line in lines.values())
        return {tag.split("_|-")[1]: line for tag, line in lines.items()}

    with Dom0(tmp_path / "x") as dom0:
        # VMs of these names are on every Qubes.
        for vm in ("work", "personal", "sys-net"):
            dom0.start_vm(vm)
            dom0.agent(vm)
        before = dom0.dump()
        assert highstate(dom0)["vminterface-push"]["comment"] == "0 VMs: nothing to do"
        assert dom0.dump() == before
        pillar = tmp_path / "srv/pillar/vminterface.sls"
        pillar.write_text(uncommented(pillar.read_text()))
        assert highstate(dom0)["vminterface-push"]["comment"] == "3 VMs: 3 changed"
        assert dom0.read("work", "qubes-timezone") == "America/Indiana/Indianapolis"
