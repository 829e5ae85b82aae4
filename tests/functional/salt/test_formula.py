"""The shipped formula and pillar, by the real ``salt-call --local`` on the real xenstored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.config as salt_config
import salt.output as salt_output
import yaml

from lab.xenstored.fakexen import missing
from tests.functional.salt.conftest import REPOSITORY
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.stores import need
from tests.support.xrandr import fake_xrandr
from vminterface.keys import for_name

#: Keys that the shipped pillar gives these VMs, a few of each.
SHIPPED: dict[str, dict[str, str | None]] = {
    "work": {
        "qubes-timezone": "America/Indiana/Indianapolis",
        "qubes-service/cups": "1",
        "qubes-ip": "10.137.0.12",
        "qubes-secondary-dns": "10.139.1.2",
        "qubes-debug-mode": "0",
    },
    "personal": {"qubes-timezone": "Europe/Warsaw", "qubes-service/cups": "0", "qubes-vm-type": "AppVM"},
    "sys-net": {"qubes-timezone": "Europe/Warsaw", "qubes-netvm-network": "10.137.0.0", "qubes-ip": None},
}
PUSH = "qubes_vm_|-vminterface-push_|-vminterface-push_|-all_configured"


class Salt:
    """A masterless minion, its file roots the project's own as in dom0."""

    def __init__(self, root: Path, socket: str) -> None:
        self.root = root
        self.top, self.states, self.pillar = root / "top", root / "states", root / "pillar"
        self.environment = {**os.environ, "XENSTORED_PATH": socket}
        modules = root / "modules"
        for folder in (self.top, self.states, self.pillar, modules):
            folder.mkdir()
        # Not the project's root itself: Salt reads every file name below its roots, and a checkout holds much else.
        for folder in REPOSITORY.glob("_[a-z]*"):
            (modules / folder.name).symlink_to(folder)
        config = {
            "id": "dom0",
            "file_client": "local",
            "root_dir": str(root / "root"),
            "file_roots": {"base": [str(self.top), str(self.states), str(modules), str(REPOSITORY / "formulas")]},
            "pillar_roots": {"base": [str(self.pillar), str(REPOSITORY / "pillar")]},
        }
        (root / "minion").write_text(yaml.safe_dump(config))

    def call(self, *arguments: str) -> Any:
        """Run ``salt-call`` and return what it says."""
        program = Path(sys.executable).with_name("salt-call")
        command = [str(program), "-c", str(self.root), "--local", "--out=json", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        self.status = done.returncode
        return json.loads(done.stdout)["local"]

    def highstate(self, *sls: str, **options: object) -> dict[str, dict[str, Any]]:
        """Run the highstate with *sls* in the top file."""
        (self.top / "top.sls").write_text(yaml.safe_dump({"base": {"*": list(sls)}}))
        found: dict[str, dict[str, Any]] = self.call("state.highstate", *(f"{k}={v}" for k, v in options.items()))
        return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "xen") as dom0:
        for vm in SHIPPED:
            dom0.start_vm(vm)
            dom0.agent(vm)
        yield dom0


@pytest.fixture
def salt(tmp_path: Path, host: Dom0) -> Salt:
    return Salt(tmp_path, host.path)


def test_the_first_highstate_configures_every_vm_and_the_second_changes_nothing(host: Dom0, salt: Salt) -> None:
    before = host.dump()
    would = salt.highstate("vminterface", test=True)
    assert would[PUSH]["result"] is None
    assert host.dump() == before
    first = salt.highstate("vminterface")
    assert salt.status == 0
    assert first[PUSH]["comment"] == "3 VMs: 3 changed"
    assert {tag: line["changes"] for tag, line in would.items()} == {
        tag: line["changes"] for tag, line in first.items()
    }
    for vm, keys in SHIPPED.items():
        assert {key: host.read(vm, key) for key in keys} == keys
    after = host.dump()
    for test in (False, True):
        again = salt.highstate("vminterface", test=test)
        assert all(line["result"] is True and line["changes"] == {} for line in again.values())
        assert again[PUSH]["comment"] == "3 VMs: 3 already as configured"
    assert host.dump() == after


def test_salts_summary_counts_a_push_once_however_many_vms_it_has_changed(salt: Salt) -> None:
    lines = salt.highstate("vminterface")
    ids = {tag.split("_|-")[1]: line for tag, line in lines.items()}
    assert set(ids) == {"vminterface-push", "vminterface-push-monitors"}
    assert ids["vminterface-push"]["changes"]["sys-net"]["type"] == {"old": "default", "new": "NetVM"}
    opts = {**salt_config.DEFAULT_MINION_OPTS, "color": False}
    shown = salt_output.out_format({"dom0": lines}, "highstate", opts)
    assert "Succeeded: 2 (changed=1)\nFailed:    0\n" in shown
    assert shown.count("sys-net:") == 1


@pytest.mark.parametrize(
    ("topic", "keys"),
    [
        ("timezone", {"qubes-timezone"}),
        ("services", {"qubes-service"}),
        (
            "network",
            {"qubes-ip", "qubes-netmask", "qubes-gateway", "qubes-primary-dns", "qubes-secondary-dns"}
            | {f"qubes-netvm-{name}" for name in ("gateway", "netmask", "network", "primary-dns", "secondary-dns")},
        ),
        ("keyboard", {"keyboard-layout", "qubes-keyboard"}),
        ("flags", {"qubes-vm-type", "qubes-debug-mode"}),
    ],
)
def test_a_topic_can_be_included_alone(host: Dom0, salt: Salt, topic: str, keys: set[str]) -> None:
    before = set(host.dump())
    lines = salt.highstate(f"vminterface.{topic}")
    assert lines[f"qubes_vm_|-vminterface-{topic}_|-vminterface-{topic}_|-all_configured"]["result"] is True
    written = {path.split("/", 4)[4] for path in set(host.dump()) - before}
    assert {name.partition("/")[0] for name in written if for_name(name)} == keys


def test_states_can_require_and_watch_the_push(salt: Salt) -> None:
    (salt.states / "mine.sls").write_text(
        """
include:
  - vminterface

after-the-push:
  test.succeed_without_changes:
    - require:
      - qubes_vm: vminterface-push

only-when-something-was-pushed:
  test.succeed_with_changes:
    - onchanges:
      - qubes_vm: vminterface-push

before-the-push:
  test.nop:
    - require_in:
      - qubes_vm: vminterface-push
"""
    )
    for pushed in (True, False):
        lines = {tag.split("_|-")[1]: line for tag, line in salt.highstate("mine").items()}
        assert lines["before-the-push"]["__run_num__"] < lines["vminterface-push"]["__run_num__"]
        assert lines["vminterface-push"]["__run_num__"] < lines["after-the-push"]["__run_num__"]
        assert bool(lines["only-when-something-was-pushed"]["changes"]) is pushed


def test_the_admins_pillar_goes_on_top(host: Dom0, salt: Salt) -> None:
    (salt.pillar / "top.sls").write_text("base: {'dom0*': [qubes, mine]}")
    (salt.pillar / "mine.sls").write_text(
        yaml.safe_dump(
            {
                "qubes": {
                    "defaults": {"timezone": "Europe/Lisbon"},
                    "vms": {"personal": {"services": {"cups": "default"}}, "sys-net": {"timezone": None}},
                }
            }
        )
    )
    salt.highstate("vminterface")
    assert host.read("work", "qubes-timezone") == "America/Indiana/Indianapolis"
    assert host.read("personal", "qubes-timezone") == "Europe/Lisbon"
    assert host.read("personal", "qubes-service/cups") is None
    assert host.read("sys-net", "qubes-timezone") is None


def test_a_fault_in_the_pillar_fails_the_run_with_its_path(host: Dom0, salt: Salt) -> None:
    (salt.pillar / "top.sls").write_text("base: {'dom0*': [qubes, mine]}")
    (salt.pillar / "mine.sls").write_text(
        "qubes: {vms: {work: {timezone: ../../etc/shadow, network: {gateway: 10.0.0.256}}}}"
    )
    before = host.dump()
    lines = salt.highstate("vminterface")
    assert salt.status != 0
    assert lines[PUSH]["result"] is False
    assert [line.partition(": ")[0] for line in lines[PUSH]["comment"].split("\n")] == [
        "qubes:vms:work:timezone",
        "qubes:vms:work:network:gateway",
    ]
    assert host.dump() == before


def test_functions_are_there_after_a_highstate(host: Dom0, salt: Salt) -> None:
    salt.highstate("vminterface")
    assert salt.call("qubes_vm.get", "work", "timezone") == {"timezone": "America/Indiana/Indianapolis"}
    assert salt.call("xenstore.read", "qubes-timezone", "vm=personal") == "Europe/Warsaw"
    assert salt.call("xenstore.write", "vm-config/n", "5", "vm=work") is True
    assert host.read("work", "vm-config/n") == "5"
    assert salt.call("qubes_vm.settings", "sys-net")["type"] == "NetVM"
    assert set(salt.call("qubes_vm.vms")) == set(SHIPPED)


def test_the_example_pillar_is_one_that_works_and_the_older_state_finds_nothing_left(
    host: Dom0, salt: Salt, tmp_path: Path
) -> None:
    (tmp_path / "qrexec").mkdir()
    vms = StandIn(tmp_path / "qrexec")
    vms.machine("work")
    fake_xrandr(vms, "work")
    salt.environment["VMINTERFACE_QREXEC"] = vms.client
    example = (REPOSITORY / "formulas/vminterface/pillar.example").read_text()
    (salt.pillar / "top.sls").write_text("base: {'dom0*': [example]}")
    (salt.pillar / "example.sls").write_text(example.replace("      monitors:", "      timeout: 60\n      monitors:"))
    lines = salt.highstate("vminterface")
    assert lines[PUSH]["comment"] == "3 VMs: 3 changed"
    states = {tag.split("_|-")[1]: line for tag, line in lines.items()}
    assert [one["width"] for one in states["vminterface-push"]["changes"]["work"]["monitors"]["new"]] == [1920, 1280]
    assert states["vminterface-push-monitors"]["comment"] == "work is already as configured"
