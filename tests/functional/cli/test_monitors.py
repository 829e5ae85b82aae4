"""``get``, ``set``, ``diff`` and ``push`` have monitors among the fields, in the pillar's words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.xenstored import fakexen
from tests.support import warm
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.xrandr import fake_xrandr

pytestmark = pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing())

LIBRARY = str(Path(__file__).parents[3] / "_utils")
ONE = "[{width: 1280, height: 800, x: 0, y: 0}]"
LAYOUT = [{"width": 1280, "height": 800, "x": 0, "y": 0}]


@pytest.fixture
def vms(tmp_path: Path) -> StandIn:
    stand_in = StandIn(tmp_path)
    stand_in.machine("work")
    fake_xrandr(stand_in, "work")
    return stand_in


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    with Dom0(tmp_path / "x") as host:
        host.start_vm("work")
        host.start_vm("bare")
        yield host


def vminterface(dom0: Dom0, vms: StandIn, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.path, "VMINTERFACE_QREXEC": vms.client}
    return warm.run(["vminterface", *words], env=env, text=True, timeout=60)


def test_set_and_get_have_them_as_the_pillar_has(dom0: Any, vms: Any) -> None:
    done = vminterface(dom0, vms, "set", "work", f"monitors={ONE}", "--timeout", "30")
    assert (done.stdout, done.stderr) == (f"work: monitors set\n  work: monitors: none -> {ONE}\n", "")
    assert vminterface(dom0, vms, "get", "work").stdout == f"work: monitors: {ONE}\n"
    shown = vminterface(dom0, vms, "get", "work", "monitors", "--json").stdout
    assert json.loads(shown) == {"work": {"monitors": LAYOUT}}
    assert vminterface(dom0, vms, "get", "work", "--keys").stdout == "work: name: work\n"


def test_a_vm_that_cannot_be_asked_says_why_where_it_is_asked_by_name_alone(dom0: Any, vms: Any) -> None:
    done = vminterface(dom0, vms, "get", "bare")
    assert (done.returncode, done.stderr) == (0, "")
    asked = vminterface(dom0, vms, "get", "bare", "monitors")
    assert asked.returncode == 1
    assert asked.stderr.startswith("vminterface: qubes.VMExec in bare: the VM is not running")


@pytest.mark.parametrize(
    ("word", "said"), [("[", "monitors"), ("[{width: 1}]", "work:monitors:0:height: "), ("x", "from_dom0")]
)
def test_what_are_no_monitors_is_one_sentence(dom0: Any, vms: Any, word: Any, said: Any) -> None:
    done = vminterface(dom0, vms, "set", "work", f"monitors={word}")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_diff_and_push_have_them_too(dom0: Any, vms: Any, tmp_path: Any) -> None:
    file = tmp_path / "pillar.json"
    file.write_text(json.dumps({"qubes": {"vms": {"work": {"monitors": LAYOUT, "timeout": 30}}}}))
    line = f"  work: monitors: none -> {ONE}\n"
    would = vminterface(dom0, vms, "diff", "--pillar", str(file))
    assert (would.returncode, would.stdout) == (3, f"work: monitors would be set\n{line}")
    assert vminterface(dom0, vms, "push", "--pillar", str(file)).stdout == f"work: monitors set\n{line}"
    again = vminterface(dom0, vms, "diff", "--pillar", str(file))
    assert (again.returncode, again.stdout) == (0, "work is already as configured\n")
