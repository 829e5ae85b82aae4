"""A fleet: an ordinary Salt master, two minions, each the dom0 of a host of its own with its own xenstored."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # pytest-salt-factories needs it
import pytest
import yaml

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support import saltdaemons
from tests.support.dom0 import Dom0
from vminterface.dom0.history.log import History

pytestmark = [
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.timeout(600),
    pytest.mark.master,
]
HOSTS = ("dom0-paris", "dom0-warsaw")
VMS = ("work", "personal", "sys-net")
#: What the master's pillar says of one host alone, on top of the shipped one.
OWN = {"qubes": {"defaults": {"timezone": "Europe/Paris"}}}


# Before any daemon's messages are kept for them.
saltdaemons.drop_log_handlers()


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: Any) -> dict[str, Any]:
    return saltdaemons.factories(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: Any) -> Iterator[Any]:
    """The hosts by their minion's ID, three VMs each, every VM with an agent."""
    made = {}
    try:
        for name in HOSTS:
            made[name] = Dom0(tmp_path_factory.mktemp(name) / "xen").__enter__()
            for vm in VMS:
                made[name].start_vm(vm)
                made[name].agent(vm)
        yield made
    finally:
        for host in made.values():
            host.__exit__(None, None, None)


def history_of(host: Dom0) -> str:
    """Return the folder in which the pushes of a host leave their history."""
    return f"{Path(host.path).parent}/history"


@pytest.fixture(scope="module")
def daemons(salt_factories: Any, tmp_path_factory: Any, hosts: Any) -> Iterator[Any]:
    """The master and, by host, the minions, all at work."""
    tree, pillar = tmp_path_factory.mktemp("srv"), tmp_path_factory.mktemp("pillar")
    for folder in PROJECT.glob("_[a-z]*"):
        (tree / folder.name).symlink_to(folder)
    (tree / "top.sls").write_text("base: {'dom0*': [vminterface]}")
    (pillar / "top.sls").write_text("base: {'dom0*': [qubes], 'dom0-paris': [paris]}")
    (pillar / "paris.sls").write_text(yaml.safe_dump(OWN))
    roots = {
        "file_roots": {"base": [str(tree), str(PROJECT / "formulas")]},
        "pillar_roots": {"base": [str(pillar), str(PROJECT / "pillar")]},
    }
    master = salt_factories.salt_master_daemon("master", overrides={**roots, "interface": "127.0.0.1"})
    minions = {}
    for name, host in hosts.items():
        minion = master.salt_minion_daemon(name, overrides={"enable_fqdns_grains": False})
        own = {
            "XENSTORED_PATH": host.path,
            "VMINTERFACE_LOG_DIR": history_of(host),
            "VMINTERFACE_LOCK_DIR": str(tmp_path_factory.mktemp(name)),
            "VMINTERFACE_ROLLOUTS": str(tmp_path_factory.mktemp(name)),
        }
        minion.environ = {**minion.environ, **own}
        minions[name] = minion
    with master.started(start_timeout=180):
        for minion in minions.values():
            minion.start(start_timeout=180)
        try:
            yield master, minions
        finally:
            for minion in minions.values():
                minion.terminate()


@pytest.fixture(scope="module")
def salt(daemons: Any) -> Any:
    """The ``salt`` command of the master, while all daemons run."""
    return daemons[0].salt_cli(timeout=240)


@pytest.fixture(scope="module")
def salt_run(daemons: Any) -> Any:
    """The ``salt-run`` command of the master, which has the runner, its outputter and the library."""
    command = daemons[0].salt_run_cli(timeout=240)
    assert "runners.qubes_fleet" in command.run("saltutil.sync_all").data["runners"]
    return command


def run(salt: Any, function: Any, *arguments: Any, target: Any = "*", **options: Any) -> Any:
    done = salt.run(function, *arguments, minion_tgt=target, **options)
    assert "Traceback" not in done.stdout + done.stderr
    return done.data


def pushes(report: Any) -> Any:
    """The line about the whole push, by minion."""
    return {
        name: next(line for tag, line in lines.items() if "all_configured" in tag) for name, lines in report.items()
    }


def test_one_highstate_configures_the_vms_of_every_host_and_the_second_changes_nothing(salt: Any, hosts: Any) -> None:
    would = pushes(run(salt, "state.highstate", test=True))
    assert {name: line["result"] for name, line in would.items()} == dict.fromkeys(HOSTS)
    assert {host.read("work", "qubes-timezone") for host in hosts.values()} == {None}

    first = pushes(run(salt, "state.highstate"))
    assert {name: line["comment"] for name, line in first.items()} == dict.fromkeys(HOSTS, "3 VMs: 3 changed")
    for name, zone in zip(HOSTS, ("Europe/Paris", "Europe/Warsaw"), strict=True):
        assert hosts[name].read("personal", "qubes-timezone") == zone
        assert hosts[name].read("work", "qubes-timezone") == "America/Indiana/Indianapolis"
        assert hosts[name].read("sys-net", "qubes-vm-type") == "NetVM"

    second = run(salt, "state.highstate")
    assert all(not line["changes"] and line["result"] for lines in second.values() for line in lines.values())
    assert {line["comment"] for line in pushes(second).values()} == {"3 VMs: 3 already as configured"}


def test_functions_reach_each_host_alone(salt: Any, hosts: Any) -> None:
    run(salt, "saltutil.sync_all")
    changes = run(salt, "qubes_vm.set", "work", target="dom0-paris", timezone="Asia/Tokyo")
    assert changes["timezone"]["new"] == "Asia/Tokyo"
    assert hosts["dom0-paris"].read("work", "qubes-timezone") == "Asia/Tokyo"
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") != "Asia/Tokyo"
    pushed = next(History(history_of(hosts["dom0-paris"])).newest_first())
    assert pushed["vms"]["work"]["changes"]["timezone"]["new"] == "Asia/Tokyo"
    assert pushed["by"]["job"].isdigit()
    assert pushed["by"]["job_user"]
    assert {name: set(vms) for name, vms in run(salt, "qubes_vm.vms").items()} == {name: set(VMS) for name in HOSTS}


def test_a_refusal_on_one_host_leaves_the_other_alone(salt: Any, hosts: Any) -> None:
    agent = hosts["dom0-paris"].guests[VMS.index("work")]
    agent.reply = lambda setting, inputs: "not here" if setting == "timezone" else ""
    for host in hosts.values():
        with host.store() as store:
            store.write(f"/local/domain/{host.domids['work']}/qubes-timezone", b"Europe/Lisbon")
    report = pushes(run(salt, "state.highstate"))
    assert report["dom0-paris"]["result"] is False
    assert "1 failed (work)" in report["dom0-paris"]["comment"]
    assert report["dom0-warsaw"]["result"] is True
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") == "America/Indiana/Indianapolis"


def test_the_runner_shows_one_line_a_host_and_all_of_it_to_programs(salt_run: Any, salt: Any, hosts: Any) -> None:
    hosts["dom0-paris"].guests[VMS.index("work")].reply = lambda setting, inputs: ""
    run(salt, "qubes_vm.push")
    found = salt_run.run("qubes_fleet.status")
    assert found.returncode == 0, found.stdout
    converged = {name: host["record"]["counts"]["converged"] for name, host in found.data["hosts"].items()}
    assert converged == dict.fromkeys(HOSTS, 3)
    shown = salt_run.run("--out=qubes_fleet", "qubes_fleet.status").stdout
    assert [line.split()[:3] for line in shown.splitlines()[1:3]] == [[name, "3", "3"] for name in HOSTS]


def test_drift_is_grouped_over_hosts_and_is_an_exit_status_of_its_own(
    salt_run: Any, salt: Any, hosts: Any, tmp_path: Path
) -> None:
    for host in hosts.values():
        with host.store() as store:
            store.write(f"/local/domain/{host.domids['work']}/qubes-timezone", b"Europe/Lisbon")
    found = salt_run.run("qubes_fleet.drift")
    assert found.returncode == 3
    assert [(one["field"], one["vms"], one["hosts"]) for one in found.data["drift"]] == [("timezone", 2, 2)]
    assert salt_run.run("qubes_fleet.page", str(tmp_path / "vms.html")).returncode == 3
    assert "timezone on 2 VMs of 2 hosts" in (tmp_path / "vms.html").read_text()
    run(salt, "qubes_vm.push")


def test_a_rollout_stops_at_the_host_that_refuses_and_is_resumed(salt_run: Any, salt: Any, hosts: Any) -> None:
    for host in hosts.values():
        with host.store() as store:
            store.write(f"/local/domain/{host.domids['work']}/qubes-timezone", b"Europe/Lisbon")
    agent = hosts["dom0-warsaw"].guests[VMS.index("work")]
    agent.reply = lambda setting, inputs: "" if "Europe/Lisbon" in inputs.values() else "not here"
    asked = {"rollout": {"name": "zones", "tgt": "dom0-*", "canary": ["dom0-paris"]}}
    found = salt_run.run("state.orchestrate", "vminterface.rollout", f"pillar={json.dumps(asked)}")
    assert found.returncode == 1
    (state,) = next(iter(found.data["data"].values())).values()
    units = state["changes"]["return"]["units"]
    assert {name: one["state"] for name, one in units.items()} == {"dom0-paris": "done", "dom0-warsaw": "failed"}
    assert "work refused timezone: not here" in units["dom0-warsaw"]["message"]
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") == "Europe/Lisbon"
    assert hosts["dom0-warsaw"].read("personal", "qubes-timezone") == "Europe/Warsaw"
    agent.reply = lambda setting, inputs: ""
    assert salt_run.run("qubes_fleet.push", "zones", "resume=True").returncode == 0
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") == "America/Indiana/Indianapolis"


def test_a_minion_that_hangs_is_named_and_costs_its_own_time(salt_run: Any, daemons: Any) -> None:
    _, minions = daemons
    hung = psutil.Process(minions["dom0-warsaw"].pid)
    processes = [hung, *hung.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        began = time.monotonic()
        found = salt_run.run("qubes_fleet.status", "timeout=5")
        took = time.monotonic() - began
    finally:
        for process in reversed(processes):
            process.resume()
    assert found.returncode == 1
    assert found.data["unknown"] == {"dom0-warsaw": "no reply within 5 s"}
    assert found.data["hosts"]["dom0-paris"]["record"]["counts"]["converged"] == 3
    assert found.data["counts"] == found.data["counts"] | {"hosts": 2, "replied": 1, "silent": 1, "vms": 3}
    # Twice its time and what salt-run takes to start, on a machine that is busy.
    assert took < 60
