"""``vminterface.prometheus``: a timer has the VMs' metrics written, by the command that the unit names."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lab.xenstored.fakexen import missing
from tests.functional.salt.conftest import REPOSITORY
from tests.functional.salt.test_formula import Salt
from tests.functional.salt.test_watch import Unit
from tests.support.dom0 import Dom0
from tests.support.stores import need

pytestmark = pytest.mark.any_salt


@pytest.fixture
def salt(tmp_path: Path) -> Salt:
    """A minion that keeps the pillar's file and the metrics in a folder of its own."""
    made = Salt(tmp_path, str(tmp_path / "none"))
    config = yaml.safe_load((tmp_path / "minion").read_text())
    config["pillar_roots"] = {"base": [str(made.pillar)]}
    (tmp_path / "minion").write_text(yaml.safe_dump(config))
    (made.pillar / "top.sls").write_text("base: {'*': [data]}")
    data = {
        "qubes": {"vms": {"work": {"timezone": "UTC"}}},
        "vminterface": {
            "watch": {"pillar": str(tmp_path / "etc/pillar.json")},
            "prometheus": {"textfile": str(tmp_path / "vminterface.prom")},
        },
    }
    (made.pillar / "data.sls").write_text(yaml.safe_dump(data))
    return made


def parts(state: list[Any]) -> dict[str, Any]:
    return {key: value for part in state if isinstance(part, dict) for key, value in part.items()}


def unit(path: Path) -> configparser.ConfigParser:
    read = Unit(interpolation=None)
    read.read(path)
    return read


def test_the_units_run_the_command_each_minute_and_it_writes_metrics(salt: Salt, tmp_path: Path) -> None:
    shown = salt.call("state.show_sls", "vminterface.prometheus")
    timer = parts(shown["vminterface-prometheus"]["service"])
    assert (timer["name"], timer["enable"]) == ("vminterface-prometheus.timer", True)
    states: dict[str, Any] = {}
    for name in ("service", "timer"):
        declared = parts(shown["vminterface-prometheus" + "-service" * (name == "service")]["file"])
        assert declared["name"] == f"/etc/systemd/system/vminterface-prometheus.{name}"
        own: dict[str, Any] = {key: declared[key] for key in ("source", "template", "context") if key in declared}
        own["name"] = str(tmp_path / f"vminterface-prometheus.{name}")
        states[name] = {"file.managed": [{key: value} for key, value in own.items()]}
    pillar_file = parts(shown["vminterface-prometheus-pillar"]["file"])
    states["pillar"] = {
        "file.serialize": [{key: pillar_file[key]} for key in ("name", "dataset", "serializer", "makedirs")]
    }
    (salt.states / "units.sls").write_text(yaml.safe_dump(states))
    lines = salt.call("state.apply", "units")
    assert all(line["result"] for line in lines.values()), lines

    assert unit(tmp_path / "vminterface-prometheus.timer")["Timer"]["OnUnitActiveSec"] == "1min"
    program, *words = unit(tmp_path / "vminterface-prometheus.service")["Service"]["ExecStart"].split()
    assert program == "/usr/bin/vminterface"
    need(missing())
    with Dom0(tmp_path / "xen") as host:
        host.start_vm("work")
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "_utils"), "XENSTORED_PATH": host.path}
        command = [sys.executable, "-m", "vminterface", *words]
        subprocess.run(command, env=environment, check=True, timeout=60)
    families = text_string_to_metric_families((tmp_path / "vminterface.prom").read_text())
    values = {one.name: one.samples[0].value for one in families}
    assert values["vminterface_vm_converged"] == 0


def test_without_a_list_of_vms_nothing_is_set_up(salt: Salt) -> None:
    (salt.pillar / "data.sls").write_text("{}")
    ((tag, line),) = salt.call("state.apply", "vminterface.prometheus").items()
    assert tag.split("_|-")[1] == "vminterface-prometheus"
    assert line["comment"].startswith("qubes:vms: is not in the pillar of minion dom0 (")
