"""A fleet: an ordinary Salt master, two minions, each the dom0 of a host of its own with its own xenstored.

Modules, runner and library are where a package has them, which is how a fleet is to have them; test_quickstart_fleet.py
has them synced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # pytest-salt-factories needs it
import pytest
import yaml

from lab.paths import PROJECT
from lab.xenstored import fakexen
from tests.support import saltdaemons
from tests.support.dom0 import Dom0
from tests.support.rpcstandin import StandIn
from tests.support.walkthrough import blocks
from vminterface.dom0.history.log import History

pytestmark = [
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.timeout(600),
    pytest.mark.master,
]
HOSTS = ("dom0-paris", "dom0-warsaw")
VMS = ("work", "personal", "sys-net")
#: Seconds in which a host has to reply where another one hangs.
PATIENCE = 6
#: The clock of a VM, which is right, and one that is an hour behind until it is set.
RIGHT = "exec date --utc --iso-8601=ns\n"
WRONG = 'if [ -e {0} ]; then exec date --utc --iso-8601=ns; fi\nexec date --utc --iso-8601=ns -d "-1 hour"\n'
#: What the master's pillar says of one host alone, on top of the shipped one.
OWN = {"qubes": {"defaults": {"timezone": "Europe/Paris"}}}
LIBRARY = {"PYTHONPATH": str(PROJECT / "_utils")}


# Before any daemon's messages are kept for them.
saltdaemons.drop_log_handlers()


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory: Any) -> dict[str, Any]:
    return saltdaemons.factories(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: Any) -> Iterator[Any]:
    """The hosts by their minion's ID, three VMs each, every VM with an agent, a clock and reports."""
    made = {}
    try:
        for name in HOSTS:
            folder = tmp_path_factory.mktemp(name)
            made[name] = Dom0(folder / "xen").__enter__()
            services = qrexec_of(made[name])
            services.mkdir()
            stand_in = StandIn(services)
            for vm in VMS:
                made[name].start_vm(vm)
                made[name].agent(vm)
                stand_in.handler(vm, "qubes.GetDate", RIGHT)
            stand_in.handler("personal", "qubes.GetDate", WRONG.format(services / "set"))
            stand_in.handler("personal", "qubes.SetDateTime", f"cat > {services}/set\n")
            report(made[name])
        yield made
    finally:
        for host in made.values():
            host.__exit__(None, None, None)


def report(host: Dom0) -> None:
    """Let the VM called work have reported its memory, and a stick."""
    reports = {
        "memory/static-max": "400000", "memory/meminfo": "300000", "qubes-block-devices/sda/desc": "Stick",
        "qubes-block-devices/sda/size": "1048576", "qubes-block-devices/sda/mode": "w",
    }  # fmt: skip
    with host.store() as store:
        for key, text in reports.items():
            store.write(f"/local/domain/{host.domids['work']}/{key}", text.encode())


def qrexec_of(host: Dom0) -> Path:
    """Return the folder that has the host's qrexec-client, and the services of its VMs."""
    return Path(host.path).parents[2] / "qrexec"


def history_of(host: Dom0) -> str:
    """Return the folder in which the pushes of a host leave their history."""
    return f"{Path(host.path).parent}/history"


def returned_by(host: Dom0) -> Path:
    """Return the file of the returner of a host."""
    return Path(host.path).parents[2] / "returned"


class Ran(NamedTuple):
    """What a command has printed, and its exit status."""

    status: int
    out: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


def together(master: Any, *commands: str) -> list[Ran]:
    """Run ``salt-run`` with the words of each of *commands*, all at the same time."""
    program = [str(Path(sys.executable).with_name("salt-run")), f"--config-dir={master.config_dir}", "--out=json"]
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [*program, *one.split()], env={**os.environ, **LIBRARY}, text=True, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                )
            )
            for one in commands
        ]  # fmt: skip
        for one in running:
            stack.callback(one.kill)
        printed = [one.communicate(timeout=240) for one in running]
    assert all("Traceback" not in out + err for out, err in printed), printed
    return [Ran(one.returncode, out) for one, (out, _) in zip(running, printed, strict=True)]


@pytest.fixture(scope="module")
def daemons(salt_factories: Any, tmp_path_factory: Any, hosts: Any) -> Iterator[Any]:
    """The master and, by host, the minions, all at work."""
    tree, pillar = tmp_path_factory.mktemp("srv"), tmp_path_factory.mktemp("pillar")
    (tree / "top.sls").write_text("base: {'dom0*': [vminterface]}")
    pages = {one.word: one.text for one in blocks(PROJECT / "docs/fleet.md")}
    (tree / "gated.sls").write_text(pages["/srv/salt/gated.sls"])
    (pillar / "top.sls").write_text("base: {'dom0*': [qubes], 'dom0-paris': [paris]}")
    (pillar / "paris.sls").write_text(yaml.safe_dump(OWN))
    roots = {
        "file_roots": {"base": [str(tree), str(PROJECT / "formulas")]},
        "pillar_roots": {"base": [str(pillar), str(PROJECT / "pillar")]},
    }
    own = {
        "interface": "127.0.0.1",
        "runner_dirs": [str(PROJECT / "_runners")],
        "outputter_dirs": [str(PROJECT / "_output")],
    }
    master = salt_factories.salt_master_daemon("master", overrides={**roots, **own})
    master.environ = {**master.environ, **LIBRARY}
    minions = {}
    for name, host in hosts.items():
        config = {
            "enable_fqdns_grains": False,
            "module_dirs": [str(PROJECT)],
            "rawfile_json.filename": str(returned_by(host)),
        }
        minion = master.salt_minion_daemon(name, overrides=config)
        own = {
            **LIBRARY,
            "PATH": f"{qrexec_of(host)}:{os.environ['PATH']}",
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
    """Runs some ``salt-run`` of the master at the same time, see :func:`together`."""
    return lambda *commands: together(daemons[0], *commands)


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


def drift(host: Dom0) -> None:
    """Let another program give the VM called work a zone."""
    with host.store() as store:
        store.write(f"/local/domain/{host.domids['work']}/qubes-timezone", b"Europe/Lisbon")


def test_each_function_returns_what_all_hosts_have_and_a_returner_has_it_too(
    salt_run: Any, salt: Any, hosts: Any
) -> None:
    hosts["dom0-paris"].guests[VMS.index("work")].reply = lambda setting, inputs: ""
    run(salt, "qubes_vm.push")
    status, lines, report, clocks, nobody = salt_run(
        "qubes_fleet.status ret=rawfile_json", "--out=qubes_fleet qubes_fleet.status", "qubes_fleet.report most=1",
        "qubes_fleet.clocks", "qubes_fleet.status nobody-*",
    )  # fmt: skip
    assert [one.status for one in (status, lines, report)] == [0, 0, 0], status.out
    records = {name: host["record"] for name, host in status.data["hosts"].items()}
    assert {name: record["counts"]["converged"] for name, record in records.items()} == dict.fromkeys(HOSTS, 3)
    for name, host in hosts.items():
        (line,) = returned_by(host).read_text().splitlines()
        assert json.loads(line)["return"]["counts"] == records[name]["counts"]
    assert [line.split()[:3] for line in lines.out.splitlines()[1:3]] == [[name, "3", "3"] for name in HOSTS]
    assert {name: (one["vms"], one["block"]) for name, one in report.data["hosts"].items()} == dict.fromkeys(
        HOSTS, (3, 1)
    )
    assert [(one["host"], one["vm"], one["percent"]) for one in report.data["memory"]] == [("dom0-paris", "work", 75.0)]
    assert clocks.data["right"] == 4
    assert [(one["host"], one["vm"], one["ok"]) for one in clocks.data["clocks"]] == [
        (name, "personal", True) for name in HOSTS
    ]
    assert (clocks.data["unknown"], clocks.status) == ({}, 3)
    assert nobody.data["error"] == "no minion of this master matches 'nobody-*' (glob)"


def test_drift_is_grouped_over_hosts_and_is_an_exit_status_of_its_own(
    salt_run: Any, hosts: Any, tmp_path: Path
) -> None:
    for host in hosts.values():
        drift(host)
    grouped, page, plan, clocks, gated = salt_run(
        "qubes_fleet.drift", f"qubes_fleet.page {tmp_path}/vms.html", "qubes_fleet.push zones test=True",
        "qubes_fleet.clocks sync=True", "state.orchestrate gated",
    )  # fmt: skip
    assert (grouped.status, page.status, plan.status) == (3, 3, 0)
    assert [(one["field"], one["vms"], one["hosts"]) for one in grouped.data["drift"]] == [("timezone", 2, 2)]
    assert page.data["path"] == f"{tmp_path}/vms.html"
    assert "timezone on 2 VMs of 2 hosts" in (tmp_path / "vms.html").read_text()
    assert set(plan.data["units"]) == set(HOSTS)
    assert {host.read("work", "qubes-timezone") for host in hosts.values()} == {"Europe/Lisbon"}
    assert (clocks.status, [one["ok"] for one in clocks.data["clocks"]]) == (0, [True, True])
    assert all((qrexec_of(host) / "set").read_text() for host in hosts.values())
    # As the page has it: what requires that nothing has drifted is not begun.
    assert gated.status == 1
    gate, then = sorted(next(iter(gated.data["data"].values())).values(), key=lambda state: state["__run_num__"])
    assert (gate["result"], then["result"]) == (False, False)
    assert gate["changes"]["ret"]["dom0-paris"]["work"]["timezone"]["store"] == "Europe/Lisbon"
    assert "requisite failed" in then["comment"]


def test_a_rollout_stops_at_the_host_that_refuses_and_is_resumed(salt_run: Any, hosts: Any) -> None:
    for host in hosts.values():
        drift(host)
    agent = hosts["dom0-warsaw"].guests[VMS.index("work")]
    agent.reply = lambda setting, inputs: "" if "Europe/Lisbon" in inputs.values() else "not here"
    asked = '{"rollout":{"name":"zones","tgt":"dom0-*","canary":["dom0-paris"]}}'
    (found,) = salt_run(f"state.orchestrate vminterface.rollout pillar={asked}")
    assert found.status == 1
    (state,) = next(iter(found.data["data"].values())).values()
    units = state["changes"]["return"]["units"]
    assert {name: one["state"] for name, one in units.items()} == {"dom0-paris": "done", "dom0-warsaw": "failed"}
    assert "work refused timezone: not here" in units["dom0-warsaw"]["message"]
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") == "Europe/Lisbon"
    assert hosts["dom0-warsaw"].read("personal", "qubes-timezone") == "Europe/Warsaw"
    agent.reply = lambda setting, inputs: ""
    (found,) = salt_run("qubes_fleet.push zones resume=True")
    assert found.status == 0, found.out
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") == "America/Indiana/Indianapolis"


@contextlib.contextmanager
def hung(minion: Any) -> Iterator[None]:
    """Stop all processes of a minion, and let them go on in the end."""
    first = psutil.Process(minion.pid)
    processes = [first, *first.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.resume()


def functions(folder: Path, options: str) -> list[str]:
    """What the runner has but for its push, with *options* for each."""
    return [
        f"qubes_fleet.{one} {options}" for one in ("status", "drift", "report", "clocks", f"page {folder}/vms.html")
    ]


def test_a_minion_that_hangs_is_named_by_each_function_and_costs_its_own_time(
    salt_run: Any, daemons: Any, hosts: Any, tmp_path: Path
) -> None:
    drift(hosts["dom0-paris"])
    with hung(daemons[1]["dom0-warsaw"]):
        began = time.monotonic()
        *parts, push = salt_run(
            *functions(tmp_path, f"timeout={PATIENCE}"), f"qubes_fleet.push late batch=100% timeout={PATIENCE}"
        )
        took = time.monotonic() - began
        (listed,) = salt_run("jobs.list_jobs")
        jobs = {job["Function"]: jid for jid, job in sorted(listed.data.items())}
        by_function = dict.fromkeys(("status", "drift", "page"), "qubes_vm.summary")
        by_function |= {"report": "qubes_vm.report", "clocks": "qubes_vm.sync_clocks"}
        commands = functions(tmp_path, "jid=")
        cached = salt_run(*(f"{one}{jobs[by_function[re.split('[ .]', one)[1]]]}" for one in commands))
    # Twice its time, with what six commands take to start and the other host to reply, on a machine that is busy.
    assert took < 90
    for found in (parts, cached):
        late = f"no reply within {PATIENCE} s" if found is parts else "no return in job "
        for one in found:
            assert one.status == 1
            assert list(one.data["unknown"]) == ["dom0-warsaw"]
            assert one.data["unknown"]["dom0-warsaw"].startswith(late)
        status, grouped, report, clocks, page = (one.data for one in found)
        assert status["hosts"]["dom0-paris"]["record"]["counts"]["drifted"] == 1
        assert status["counts"] == status["counts"] | {"hosts": 2, "replied": 1, "silent": 1, "vms": 3}
        assert [(one["field"], one["vms"], one["hosts"]) for one in grouped["drift"]] == [("timezone", 1, 1)]
        assert list(report["hosts"]) == ["dom0-paris"]
        assert clocks["right"] == 3
        assert page["counts"] == status["counts"]
    assert push.status == 1
    units = {name: (one["state"], one["message"]) for name, one in push.data["units"].items()}
    assert units == {"dom0-paris": ("waiting", ""), "dom0-warsaw": ("failed", f"no reply within {PATIENCE} s")}
    assert hosts["dom0-paris"].read("work", "qubes-timezone") == "Europe/Lisbon"


def test_a_host_whose_store_hangs_replies_with_that_and_the_other_with_its_vms(salt_run: Any, hosts: Any) -> None:
    daemon = hosts["dom0-warsaw"].daemon.process
    daemon.send_signal(signal.SIGSTOP)
    try:
        status, report, clocks, lines = salt_run(
            "qubes_fleet.status timeout=60", "qubes_fleet.report timeout=60", "qubes_fleet.clocks timeout=60",
            "--out=qubes_fleet qubes_fleet.status timeout=60",
        )  # fmt: skip
    finally:
        daemon.send_signal(signal.SIGCONT)
    for one in (status, report, clocks):
        assert one.status == 1
        assert list(one.data["unknown"]) == ["dom0-warsaw"]
        assert "xen/run/socket: " in one.data["unknown"]["dom0-warsaw"]
        assert "Resource temporarily unavailable" not in one.out
    assert status.data["counts"] == status.data["counts"] | {"hosts": 2, "replied": 2, "silent": 0, "vms": 3}
    assert list(report.data["hosts"]) == ["dom0-paris"]
    assert clocks.data["right"] == 3
    assert any(line.startswith("dom0-warsaw: ") and "xen/run/socket: " in line for line in lines.out.splitlines())
