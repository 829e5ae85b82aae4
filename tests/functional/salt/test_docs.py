"""What the README and docs/ show works as typed."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab import fakexen
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr
from vminterface.dom0.settings import VMSettings, parse_pillar

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())


def blocks(language: str) -> list[tuple[str, str]]:
    return [(page.name, text) for page in PAGES for found, text in BLOCK.findall(page.read_text()) if found == language]


def is_pillar(text: str) -> bool:
    return "qubes" in yaml.safe_load(text)


def is_for_a_vm(text: str) -> bool:
    """What runs in a VM, or is pillar of that, is tried there by the tests of the VM's formulas."""
    return "vminterface.agent" in text or "vminterface.handlers" in text or "vminterface" in yaml.safe_load(text)


PILLARS = [block for block in blocks("yaml") if is_pillar(block[1])]
STATES = [block for block in blocks("yaml") if not is_pillar(block[1]) and not is_for_a_vm(block[1])]
SESSIONS = blocks("console")
NETWORKS = {"qubes_vm.network": "network", "qubes_vm.network_provider": "provides_network"}


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    with Dom0(tmp_path / "x") as host:
        for vm in ("work", "personal", "sys-net"):
            host.start_vm(vm)
            host.agent(vm)
        yield host


@pytest.fixture
def env(dom0: Dom0, tmp_path: Path) -> dict[str, str]:
    """The environment of a command in that dom0: its store, and its way to services."""
    (tmp_path / "qrexec").mkdir()
    vms = StandIn(tmp_path / "qrexec")
    for vm in dom0.domids:
        vms.machine(vm)
        fake_xrandr(vms, vm)
        vms.program(vm, "nm-online", "exit 0")
        vms.handler(vm, "qubes.SyncNtpClock", "exit 0")
        (vms.folder / "vms" / vm / "qubes.SyncNtpClock").chmod(0o644)
    path = f"{vms.folder}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XENSTORED_PATH": dom0.path, "PYTHONPATH": str(ROOT / "_utils")}


def test_there_are_examples_of_every_kind():
    assert min(len(PILLARS), len(STATES), len(SESSIONS)) >= 1


@pytest.mark.parametrize(("page", "text"), PILLARS)
def test_a_pillar_is_one_that_is_accepted(page, text):
    assert parse_pillar(yaml.safe_load(text))


@pytest.mark.parametrize(("page", "text"), STATES)
def test_states_apply_and_then_have_nothing_left_to_do(page, text, env, tmp_path):
    tree, pillar = tmp_path / "srv", tmp_path / "pillar"
    tree.mkdir()
    pillar.mkdir()
    (tree / "example.sls").write_text(text)
    (pillar / "top.sls").write_text("base: {'*': [qubes]}")
    (pillar / "qubes.sls").write_text((ROOT / "pillar/qubes/init.sls").read_text())
    (tmp_path / "minion").write_text(
        yaml.safe_dump(
            {
                "id": "dom0",
                "root_dir": str(tmp_path / "run"),
                "file_client": "local",
                "file_roots": {"base": [str(tree), str(ROOT / "formulas")]},
                "pillar_roots": {"base": [str(pillar)]},
                "module_dirs": [str(ROOT)],
            }
        )
    )
    command = [str(Path(sys.executable).parent / "salt-call"), "-c", str(tmp_path), "--local", "--retcode-passthrough"]
    for run in ("first", "second"):
        done = subprocess.run(
            [*command, "state.apply", "example"],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{run}: {done.stdout}{done.stderr}"
    assert "(changed=" not in done.stdout, done.stdout


def test_the_networks_of_the_states_are_those_of_the_shipped_pillar():
    shipped = {
        one.vm: one.desired for one in parse_pillar(yaml.safe_load((ROOT / "pillar/qubes/init.sls").read_text()))
    }
    compared = 0
    for _, text in STATES:
        for state in yaml.safe_load(text).values():
            for function, field in NETWORKS.items():
                if not isinstance(state, dict) or function not in state:
                    continue
                raw = {name: value for part in state[function] for name, value in part.items()}
                vm = raw.pop("name")
                # Its clients are not all known when a pillar is written.
                raw.pop("connected", None)
                assert VMSettings.parse(vm, {field: raw}).desired.items() <= shipped[vm].items()
                compared += 1
    assert compared >= 2


@pytest.mark.parametrize(("page", "text"), SESSIONS)
def test_a_session_prints_what_it_shows(page, text, env):
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        program, *words = shlex.split(command)
        assert program == "vminterface"
        done = subprocess.run(
            [sys.executable, "-m", "vminterface", *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert fnmatch.fnmatchcase(done.stdout + done.stderr, shown), f"$ {command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target
