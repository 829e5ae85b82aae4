"""dom0 is never taken for a VM: the VM's states refuse in it, and no state or function takes it as a target."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from salt.loader.lazy import LazyLoader

from tests.functional.salt.conftest import REPOSITORY
from tests.support.dom0 import Dom0

#: What Salt's own grains, or those of Qubes' formulas, say in dom0.
GRAINS = {
    "xen": {"virtual": "xen", "virtual_subtype": "Xen Dom0"},
    "qubes": {"virtual": "Qubes", "os": "Fedora", "os_family": "RedHat"},
}
NAMES = ("dom0", "Domain-0")


@pytest.fixture
def applied(tmp_path: Path) -> Callable[..., Any]:
    """Applies a state by the real ``salt-call``; the minion is *minion*, and its grains are *grains* too."""

    def apply(sls: Any, minion: Any, grains: Any, *options: Any) -> Any:
        config = {
            "id": minion,
            "file_client": "local",
            "root_dir": str(tmp_path / "run"),
            "file_roots": {"base": [str(tmp_path / "srv"), str(REPOSITORY / "formulas")]},
            "pillar_roots": {"base": [str(tmp_path / "pillar")]},
            "grains": grains,
            "enable_fqdns_grains": False,
        }
        # A refusal that fails shall not reach this machine.
        own = {"library": f"{tmp_path}/vm/lib", "command": f"{tmp_path}/vm/command", "python": "/bin/false"}
        (tmp_path / "pillar").mkdir(exist_ok=True)
        (tmp_path / "pillar/top.sls").write_text("base: {'*': [own]}")
        (tmp_path / "pillar/own.sls").write_text(yaml.safe_dump({"vminterface": {"agent": own}}))
        (tmp_path / "srv").mkdir(exist_ok=True)
        if not (tmp_path / "srv/_utils").exists():
            (tmp_path / "srv/_utils").symlink_to(REPOSITORY / "_utils")
        (tmp_path / "minion").write_text(yaml.safe_dump(config))
        command = [str(Path(sys.executable).with_name("salt-call")), "-c", str(tmp_path), "--local", "--out=json"]
        done = subprocess.run(
            [*command, "--retcode-passthrough", "state.apply", sls, *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )
        return done.returncode, json.loads(done.stdout)["local"]

    return apply


@pytest.mark.parametrize("sls", ["vminterface.handlers", "vminterface.agent"])
@pytest.mark.parametrize(
    ("minion", "grains", "options"),
    [("dom0", {}, ["test=True"]), ("host", GRAINS["xen"], []), ("host", GRAINS["qubes"], [])],
    ids=["id-in-test", "xen", "qubes"],
)
def test_a_vms_state_refuses_in_dom0_with_the_right_command_and_nothing_changed(
    applied: Callable[..., Any], tmp_path: Path, sls: str, minion: str, grains: dict[str, str], options: list[str]
) -> None:
    status, lines = applied(sls, minion, grains, *options)
    assert status != 0
    ((tag, line),) = lines.items()
    assert tag.split("_|-")[1] == sls.replace(".", "-")
    assert (line["result"], line["changes"]) == (False, {})
    sentence = line["name"]
    assert sentence.startswith(f"{sls}: this is dom0")
    assert f"qubesctl --skip-dom0 --targets TEMPLATE state.apply {sls})" in sentence
    assert options or line["comment"] == sentence
    assert not (tmp_path / "vm").exists()


@pytest.mark.parametrize("vm", NAMES)
def test_every_function_refuses_dom0_in_one_sentence(host: Dom0, modules: Any, vm: str) -> None:
    before = host.dump()
    calls: list[Callable[[], object]] = [
        lambda: modules.qubes_vm.get(vm),
        lambda: modules.qubes_vm.set(vm, timezone="Europe/Warsaw"),
        lambda: modules.qubes_vm.report(vm),
        lambda: modules.qubes_vm.push(vm),
        lambda: modules.qubes_vm.diff(vm),
        lambda: modules.xenstore.write("qubes-timezone", "Europe/Warsaw", vm=vm),
        lambda: modules.xenstore.read("qubes-timezone", vm=vm),
        lambda: modules.xenstore.domid(vm),
        lambda: modules.qubesdb.write("/qubes-timezone", "Europe/Warsaw", vm=vm),
    ]
    for call in calls:
        with pytest.raises(Exception, match=rf"'{vm}' is dom0 itself, which is not a VM \(expected a VM's name\)$"):
            call()
    assert host.dump() == before


@pytest.mark.parametrize("vm", NAMES)
def test_every_state_refuses_dom0_in_one_sentence(
    host: Dom0, states: LazyLoader, pillar: Callable[..., Any], vm: str
) -> None:
    pillar({"qubes": {"vms": {vm: {"timezone": "Europe/Warsaw"}}}})
    before = host.dump()
    results = [
        states.qubes_vm.timezone(vm, timezone="Europe/Warsaw"),
        states.qubes_vm.configured(vm),
        states.qubes_vm.configured(vm, settings={"timezone": "Europe/Warsaw"}),
        states.qubes_vm.all_configured("push"),
        states.qubes_vm.all_reporting("reports", vms=[vm]),
        states.xenstore.present("qubes-timezone", value="Europe/Warsaw", vm=vm),
        states.qubesdb.present("/qubes-timezone", value="Europe/Warsaw", vm=vm),
    ]
    for result in results:
        assert result.result is False
        assert result.changes == {}
        assert result.comment.endswith(f"'{vm}' is dom0 itself, which is not a VM (expected a VM's name)")
    assert host.dump() == before
