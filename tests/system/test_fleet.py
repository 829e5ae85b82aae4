"""A fleet: an ordinary Salt master, two minions, each the dom0 of a host of its own with its own xenstored."""

import logging

import pytest
import yaml

from lab import fakexen
from lab.paths import PROJECT
from tests.support.dom0 import Dom0

pytestmark = [
    pytest.mark.skipif(bool(fakexen.missing()), reason=fakexen.missing()),
    pytest.mark.timeout(300),
]
HOSTS = ("dom0-paris", "dom0-warsaw")
VMS = ("work", "personal", "sys-net")
#: What the master's pillar says of one host alone, on top of the shipped one.
OWN = {"qubes": {"defaults": {"timezone": "Europe/Paris"}}}


@pytest.fixture(scope="session")
def salt_factories_config(tmp_path_factory):
    yield {"root_dir": str(tmp_path_factory.mktemp("fleet"))}
    # Salt leaves handlers on the root logger that write to a stream which pytest has closed by then.
    for handler in list(logging.root.handlers):
        if type(handler).__module__.startswith("salt."):
            logging.root.removeHandler(handler)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
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


@pytest.fixture(scope="module")
def salt(salt_factories, tmp_path_factory, hosts):
    """The ``salt`` command of the master, while all daemons run."""
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
    minions = []
    for name, host in hosts.items():
        minion = master.salt_minion_daemon(name, overrides={"enable_fqdns_grains": False})
        minion.environ = {**minion.environ, "XENSTORED_PATH": host.path}
        minions.append(minion)
    with master.started():
        for minion in minions:
            minion.start()
        try:
            yield master.salt_cli(timeout=120)
        finally:
            for minion in minions:
                minion.terminate()


def run(salt, function, *arguments, target="*", **options):
    done = salt.run(function, *arguments, minion_tgt=target, **options)
    assert "Traceback" not in done.stdout + done.stderr
    return done.data


def pushes(report):
    """The line about the whole push, by minion."""
    return {
        name: next(line for tag, line in lines.items() if "all_configured" in tag) for name, lines in report.items()
    }


def test_one_highstate_configures_the_vms_of_every_host_and_the_second_changes_nothing(salt, hosts):
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


def test_functions_reach_each_host_alone(salt, hosts):
    run(salt, "saltutil.sync_all")
    changes = run(salt, "qubes_vm.set", "work", target="dom0-paris", timezone="Asia/Tokyo")
    assert changes["timezone"]["new"] == "Asia/Tokyo"
    assert hosts["dom0-paris"].read("work", "qubes-timezone") == "Asia/Tokyo"
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") != "Asia/Tokyo"
    assert {name: set(vms) for name, vms in run(salt, "qubes_vm.vms").items()} == {name: set(VMS) for name in HOSTS}


def test_a_refusal_on_one_host_leaves_the_other_alone(salt, hosts):
    agent = hosts["dom0-paris"].guests[VMS.index("work")]
    agent.answer = lambda setting, inputs: "not here" if setting == "timezone" else ""
    for host in hosts.values():
        with host.store() as store:
            store.write(f"/local/domain/{host.domids['work']}/qubes-timezone", b"Europe/Lisbon")
    report = pushes(run(salt, "state.highstate"))
    assert report["dom0-paris"]["result"] is False
    assert "1 failed (work)" in report["dom0-paris"]["comment"]
    assert report["dom0-warsaw"]["result"] is True
    assert hosts["dom0-warsaw"].read("work", "qubes-timezone") == "America/Indiana/Indianapolis"
