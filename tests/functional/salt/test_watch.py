"""``vminterface.watch``: the pillar becomes a file that root alone reads, and the watcher it starts works with it."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.xenstored.fakexen import missing
from tests.functional.salt.conftest import REPOSITORY
from tests.functional.salt.test_formula import Salt
from tests.support.dom0 import Dom0
from tests.support.stores import need

#: What the watcher uses of the pillar.
OURS = {
    "defaults": {"services": {"cups": False}},
    "vms": {"work": {"timezone": "Europe/Warsaw", "services": {"cups": True, "crond": "default"}}},
}


class Unit(configparser.ConfigParser):
    """A unit's file, in which upper and lower case differ."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as dom0:
        yield dom0


@pytest.fixture
def salt(tmp_path: Path, host: Dom0) -> Salt:
    """A minion that takes this machine for one with systemd, and keeps the watcher's pillar in a folder of its own."""
    made = Salt(tmp_path, host.path)
    config = yaml.safe_load((tmp_path / "minion").read_text())
    config["pillar_roots"] = {"base": [str(made.pillar)]}
    config["grains"] = {"init": "systemd"}
    (tmp_path / "minion").write_text(yaml.safe_dump(config))
    (made.pillar / "top.sls").write_text("base: {'*': [data]}")
    data = {
        # Beside ours what Qubes' own formulas keep there.
        "qubes": {**OURS, "features": {"service.cups": "1"}, "tags": ["a"], "type": "admin", "netvm": "none"},
        "vminterface": {"watch": {"pillar": str(tmp_path / "etc/pillar.json")}},
    }
    (made.pillar / "data.sls").write_text(yaml.safe_dump(data))
    return made


def test_the_pillar_becomes_a_file_for_root_alone_that_the_watcher_works_with(
    host: Dom0, salt: Salt, tmp_path: Path
) -> None:
    file = tmp_path / "etc/pillar.json"
    (line,) = salt.call("state.sls_id", "vminterface-watch-pillar", "vminterface.watch").values()
    assert line["result"] is True, line
    assert "Warsaw" not in json.dumps(line["changes"])
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert json.loads(file.read_text()) == {"qubes": OURS}
    data = yaml.safe_load((salt.pillar / "data.sls").read_text())
    data["qubes"].update(features={"service.cups": "", "new": "1"}, tags=[], type="other")
    (salt.pillar / "data.sls").write_text(yaml.safe_dump(data))
    (again,) = salt.call("state.sls_id", "vminterface-watch-pillar", "vminterface.watch").values()
    assert (again["result"], again["changes"]) == (True, {})

    host.start_vm("work")
    watcher = subprocess.Popen(
        [sys.executable, "-m", "vminterface", "watch", "--pillar", str(file)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "_utils"), "XENSTORED_PATH": host.path},
    )
    try:
        end = time.monotonic() + 30
        while host.read("work", "qubes-service/cups") != "1":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert host.read("work", "qubes-timezone") == "Europe/Warsaw"
    finally:
        watcher.terminate()
        assert watcher.wait(10) == 0


@pytest.mark.parametrize("pillar", ["{}", "qubes: {type: admin}", "qubes: {vms: null}", "qubes: []"])
def test_without_a_list_of_vms_the_watcher_is_left_as_it_is(salt: Salt, pillar: str) -> None:
    (salt.pillar / "data.sls").write_text(pillar)
    ((tag, line),) = salt.call("state.apply", "vminterface.watch").items()
    assert salt.status != 0
    assert tag.split("_|-")[1] == "vminterface-watch"
    assert (line["result"], line["changes"]) == (False, {})
    assert line["comment"] == (
        "qubes:vms: is not in the pillar of minion dom0 (expected a mapping of VMs to their settings, {} for no VMs)"
    )


def test_the_service_runs_the_command_with_that_file(salt: Salt, tmp_path: Path) -> None:
    shown = salt.call("state.show_sls", "vminterface.watch")
    service = {key: value for part in shown["vminterface-watch"]["service"] if isinstance(part, dict)
               for key, value in part.items()}  # fmt: skip
    assert (service["name"], service["enable"]) == ("vminterface-watch", True)
    # A changed pillar is read by the watcher itself.
    assert {"file": "vminterface-watch-pillar"} not in service["watch"]
    context = next(p["context"] for p in shown["vminterface-watch"]["file"] if isinstance(p, dict) and "context" in p)
    assert context["watch"]["pillar"] == str(tmp_path / "etc/pillar.json")

    (salt.states / "unit.sls").write_text(
        yaml.safe_dump(
            {
                "unit": {
                    "file.managed": [
                        {"name": str(tmp_path / "unit")},
                        {"source": "salt://vminterface/files/vminterface-watch.service"},
                        {"template": "jinja"},
                        {"context": context},
                    ]
                }
            }
        )
    )
    (line,) = salt.call("state.apply", "unit").values()
    assert line["result"] is True, line
    unit = Unit(interpolation=None)
    unit.read(tmp_path / "unit")
    assert unit["Service"]["ExecStart"] == f"/usr/bin/vminterface watch --pillar {tmp_path / 'etc/pillar.json'}"
    assert unit["Service"]["Environment"] == "MALLOC_ARENA_MAX=1 GLIBC_TUNABLES=glibc.malloc.tcache_count=0"
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_documented_states_compile(salt: Salt) -> None:
    """Those with ``qvm`` can be applied on Qubes alone: here Salt reads them and finds their requisites."""
    page = (REPOSITORY / "docs/states.md").read_text()
    data = yaml.safe_load((salt.pillar / "data.sls").read_text())
    data["qubes_known"] = {"work": {"running": True, "keys": {"timezone": "UTC"}}, "idle": {"running": False}}
    (salt.pillar / "data.sls").write_text(yaml.safe_dump(data))
    for number, text in enumerate(re.findall(r"^```jinja\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)):
        (salt.states / f"shown{number}.sls").write_text(text)
        low = salt.call("state.show_low_sls", f"shown{number}")
        assert all(isinstance(one, dict) for one in low), low
        ids = {one["__id__"] for one in low}
        desired = {"work-exists", "work-is-configured", "work-runs"}
        if "include" in text or "qubes_known" in text:
            desired = {"vminterface-watch"} if "include" in text else {"zone-of-work"}
        assert desired <= ids
