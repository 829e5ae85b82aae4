"""What the README and docs/ show works as typed.

A block that says after its language what it is for (a file's name, mostly) is no example of a state or a pillar alone.
"""

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

from lab.xenstored import fakexen
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.errors import InvalidValue
from vminterface.values.timezone import Timezone

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A file that the sessions of its page use.
FILE = re.compile(r"^```\w+ ([\w.-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A zone that dom0 knows and the VM personal does not have.
MISSING_ZONE = "Antarctica/Troll"

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (str(page.relative_to(ROOT)), text)
        for page in PAGES
        for found, text in BLOCK.findall(page.read_text())
        if found == language
    ]


def refusal(setting: str, inputs: dict[str, str]) -> str:
    """The reason for which a VM's agent refuses the zone that it does not have, empty for all else."""
    if inputs.get("timezone") != MISSING_ZONE:
        return ""
    with pytest.raises(InvalidValue) as refused:
        Timezone.parse(MISSING_ZONE, lambda name: False)
    return str(refused.value)


def is_pillar(text: str) -> bool:
    return "qubes" in yaml.safe_load(text)


def is_for_a_vm(text: str) -> bool:
    """What runs in a VM, or is pillar of that, is tried there by the tests of the VM's formulas."""
    return "vminterface.agent" in text or "vminterface.handlers" in text or "vminterface" in yaml.safe_load(text)


PILLARS = [block for block in blocks("yaml") if is_pillar(block[1])]
STATES = [block for block in blocks("yaml") if not is_pillar(block[1]) and not is_for_a_vm(block[1])]
SESSIONS = blocks("console")
NETWORKS = {"qubes_vm.network": "network", "qubes_vm.provides_network": "provides_network"}


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    with Dom0(tmp_path / "x") as host:
        for vm in ("work", "personal", "sys-net"):
            host.start_vm(vm)
            host.agent(vm, refusal if vm == "personal" else lambda setting, inputs: "")
        yield host


@pytest.fixture
def env(dom0: Dom0, tmp_path: Path) -> dict[str, str]:
    """The environment of a command in that dom0: its store, and its way to services."""
    (tmp_path / "qrexec").mkdir()
    vms = StandIn(tmp_path / "qrexec")
    for vm in (*dom0.domids, "debian-13"):
        vms.machine(vm)
        fake_xrandr(vms, vm)
        vms.program(vm, "nm-online", "exit 0")
        vms.handler(vm, "qubes.SyncNtpClock", "exit 0")
        vms.handler(vm, "qubes.GetAppmenus", "echo firefox.desktop:Name=Firefox")
        for service in ("qubes.SyncNtpClock", "qubes.GetAppmenus"):
            (vms.folder / "vms" / vm / service).chmod(0o644)
    path = f"{vms.folder}:{os.environ['PATH']}"
    own = {"VMINTERFACE_MENU": str(tmp_path / "menu"), "VMINTERFACE_LOG_DIR": str(tmp_path / "log")}
    return {**os.environ, **own, "PATH": path, "XENSTORED_PATH": dom0.path, "PYTHONPATH": str(ROOT / "_utils")}


@pytest.mark.any_salt
def test_there_are_examples_of_every_kind() -> None:
    assert min(len(PILLARS), len(STATES), len(SESSIONS)) >= 1


@pytest.mark.any_salt
@pytest.mark.parametrize(("page", "text"), PILLARS)
def test_a_pillar_is_one_that_is_accepted(page: str, text: str) -> None:
    assert parse_pillar(yaml.safe_load(text))


@pytest.mark.parametrize(("page", "text"), STATES)
def test_states_apply_and_then_have_nothing_left_to_do(
    page: str, text: str, env: dict[str, str], tmp_path: Path
) -> None:
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


@pytest.mark.any_salt
def test_the_networks_of_the_states_are_those_of_the_shipped_pillar() -> None:
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


@pytest.mark.any_salt
@pytest.mark.parametrize(("page", "text"), SESSIONS)
def test_a_session_prints_what_it_shows(page: str, text: str, env: dict[str, str], tmp_path: Path) -> None:
    for name, content in FILE.findall((ROOT / page).read_text()):
        (tmp_path / name).write_text(content)
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = step.partition("\n")
        program, *words = shlex.split(command)
        assert program == "vminterface"
        done = subprocess.run(
            [sys.executable, "-m", "vminterface", *words],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert fnmatch.fnmatchcase(done.stdout + done.stderr, shown.replace("[", "[[]")), (
            f"$ {command}\n{done.stdout}{done.stderr}"
        )


@pytest.mark.any_salt
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    # What is made of tables is there on the site alone, whose build refuses a link to nothing.
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        made = "docs" in page.parts and (target.rpartition("reference/")[1] or target == "changelog.md")
        assert target.startswith("https://") or made or (page.parent / target).exists(), target
