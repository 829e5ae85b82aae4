"""The product on a real Xen host: real xenstored, real paravirtual VMs, real Salt in dom0.

All tests share one host, on which the shipped pillar has been pushed; tests that leave something
else behind come last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.dom0.saltdir import by_vm, parse_report
from lab.xen.host import ACKNOWLEDGE_SECONDS, SALT_SECONDS
from tests.xen.conftest import wait_until

WATCHER = """
export PYTHONPATH=/usr/local/lib/vminterface
python3 -m vminterface watch --pillar /run/pillar.json </dev/null >/run/watch.log 2>&1 &
echo $! >/run/watch.pid
"""
END_WATCHER = "read pid </run/watch.pid; kill $pid; while [ -d /proc/$pid ]; do sleep 0.1; done"
ZONES = {"sys-net": ("CET", "CEST"), "work": ("EST", "EDT"), "personal": ("CET", "CEST")}
ADDRESSES = {"work": "10.137.0.12", "personal": "10.137.0.13"}
GATEWAY = "10.137.0.5"
NAME_SERVERS = ["10.139.1.1", "10.139.1.2"]
#: Seconds that the VM has to acknowledge in the test in which it hangs.
TIMEOUT = 8
#: Seconds by which the time server of these tests is ahead of everybody.
AHEAD = 1800
HOUR = 3600
#: What is left between two clocks that were set one after the other, in an emulated machine that stops at times.
NEAR = 60


def all_right(done: Any) -> Any:
    code, report = done
    assert code == 0, [line.comment for line in report]
    assert all(line.ok is True for line in report), [line.comment for line in report]
    return report


def in_vm(host: Any, vm: Any, source: Any) -> Any:
    """What Python in a VM prints, with the agent's library."""
    return host.vm(vm, "env", "PYTHONPATH=/usr/lib/vminterface", "python3", "-c", source)


def test_a_highstate_brings_every_vm_to_the_shipped_pillar(first: Any) -> None:
    report = all_right(first)
    assert {vm for vm, line in by_vm(report, ZONES).items() if line.changes} == set(ZONES)


@pytest.mark.parametrize("vm", ZONES)
def test_a_vm_has_its_name_and_its_time_zone(host: Any, first: Any, vm: Any) -> None:
    assert host.vm(vm, "hostname") == vm
    assert host.vm(vm, "date", "+%Z") in ZONES[vm]


def test_a_vm_has_its_services(host: Any, first: Any) -> None:
    assert set(host.vm("work", "ls", "/run/qubes-service").split()) >= {"cups", "meminfo-writer"}
    personal = set(host.vm("personal", "ls", "/run/qubes-service").split())
    assert "meminfo-writer" in personal
    assert "cups" not in personal


@pytest.mark.parametrize("vm", ADDRESSES)
def test_a_vm_has_its_network_and_reaches_the_vm_that_provides_it(host: Any, first: Any, vm: Any) -> None:
    assert ADDRESSES[vm] in host.vm(vm, "ip", "-4", "-brief", "address", "show", "eth0")
    assert f"default via {GATEWAY}" in host.vm(vm, "ip", "-4", "route", "show", "default")
    assert " 0% packet loss" in host.vm(vm, "ping", "-c", "1", "-W", "10", GATEWAY)


@pytest.mark.parametrize("vm", ADDRESSES)
def test_a_vm_asks_the_pillars_name_servers(host: Any, first: Any, vm: Any) -> None:
    assert host.vm(vm, "grep", "^nameserver", "/etc/resolv.conf").split()[1::2] == NAME_SERVERS


def test_the_providing_vm_forwards_behind_its_firewall(host: Any, first: Any) -> None:
    assert host.vm("sys-net", "cat", "/proc/sys/net/ipv4/ip_forward") == "1"
    rules = host.vm("sys-net", "nft", "list", "table", "ip", "qubes")
    for vm, address in ADDRESSES.items():
        assert f"vif{host.domids[vm]}.0" in rules
        assert address in rules


def test_a_second_highstate_changes_nothing(host: Any, first: Any) -> None:
    report = all_right(host.highstate())
    assert [line.comment for line in report if line.changes] == []


def test_dom0_reads_the_memory_that_a_vm_reports(host: Any, first: Any) -> None:
    reported = json.loads(host.python("""
import json
from vminterface.dom0.reports import devices as reports
from vminterface.dom0.inventory.targets import Targets
with Targets() as targets:
    print(json.dumps({vm: [one.used_kb, one.warnings] for vm, one in reports.read(targets, ["work"]).items()}))
"""))  # fmt: skip
    used, warnings = reported["work"]
    assert warnings == []
    assert 10_000 < used < 224 * 1024


@pytest.mark.parametrize(
    "path",
    ["qubes-timezone", "qubes-service/cups", "memory/target", "/local/domain/0/name", "/tool/xenstored", "other"],
)
def test_a_vm_cannot_write_what_is_not_its_own(host: Any, first: Any, path: Any) -> None:
    other = f"/local/domain/{host.domids['personal']}/qubes-timezone"
    said = in_vm(host, "work", f"""
from vminterface.channel.xenstore.store import XenStore
from vminterface.errors import PermissionDenied
with XenStore.open() as store:
    try:
        store.write({other if path == "other" else path!r}, b"Asia/Tokyo")
        print("written")
    except PermissionDenied as error:
        print("EACCES" if "EACCES" in str(error) else error)
""")  # fmt: skip
    assert said == "EACCES"


def test_a_vm_that_fills_its_quota_is_no_harm_to_dom0(host: Any, first: Any) -> None:
    said = in_vm(host, "work", """
from vminterface.channel.xenstore.store import XenStore
from vminterface.errors import QuotaExceeded
with XenStore.open() as store:
    try:
        for number in range(5000):
            store.write(f"vminterface/flood/{number}", b"x" * 1000)
    except QuotaExceeded:
        print(number)
""")  # fmt: skip
    assert 100 < int(said) < 5000
    # Neither for itself nor for what it has to tell this VM is dom0 held to the VM's quota.
    seconds = float(host.python("""
import sys, time
from vminterface.channel.xenstore.store import XenStore
with XenStore.open() as store:
    began = time.monotonic()
    for path in "/local/domain/0/test", f"/local/domain/{sys.argv[1]}/test":
        for number in range(50):
            store.write(path, b"%d" % number)
            assert store.read(path) == b"%d" % number
        store.remove(path)
    print(time.monotonic() - began)
""", str(host.domids["work"])))  # fmt: skip
    assert seconds < 60
    in_vm(host, "work", """
from vminterface.channel.xenstore.store import XenStore
with XenStore.open() as store:
    store.remove("vminterface/flood")
""")  # fmt: skip


def test_clocks_are_brought_to_what_a_time_server_says(host: Any, first: Any, say: Any) -> None:
    """sys-net asks the server, whose time is nobody's here, by chrony; then the other VM is told."""
    start_time_server(host, "personal")
    address = json.loads(host.vm("personal", "ip", "-j", "address", "show", "eth0"))[0]["addr_info"][0]["local"]
    host.vm("sys-net", "tee", "/run/chrony.conf", text=f"server {address} iburst\nuser root\nmakestep 1 -1\n")
    host.vm("sys-net", "chronyd", "-f", "/run/chrony.conf")
    right = host_time(host) + AHEAD
    host.vm("work", "date", "-u", "-s", f"@{int(right) + HOUR}")
    assert abs(time_in(host, "work") - host_time(host) - AHEAD - HOUR) < NEAR  # a PV guest's clock is its own

    began = time.monotonic()
    synced(host, "clock_vm=sys-net", "vms=[work]")
    say(f"the clocks were synced in {time.monotonic() - began:.0f} s")
    right += time.monotonic() - began
    for vm in ("sys-net", "work"):
        assert abs(time_in(host, vm) - right) < NEAR, vm
    assert abs(host_time(host) + AHEAD - right) < NEAR  # dom0's own is not touched


def start_time_server(host: Any, vm: Any) -> None:
    program = "/usr/lib/vminterface-lab/lab/xen/inside/ntpserver.py"
    host.vm(vm, "sh", "-c", f"python3 {program} {AHEAD} >/run/ntpserver 2>&1 </dev/null & sleep 1")
    assert host.vm(vm, "cat", "/run/ntpserver") == ""


def synced(host: Any, *arguments: Any) -> None:
    """Run the state ``qubes_vm.clock_synced`` with *arguments*."""
    words = ["salt-call", "--local", "--out=json", "state.single", "qubes_vm.clock_synced", "clocks", *arguments]
    done = host.machine.call(words, seconds=SALT_SECONDS)
    report = parse_report(done.returncode, done.stdout, done.stderr)
    assert all(line.ok is True for line in report), [line.comment for line in report]


def time_in(host: Any, vm: Any) -> Any:
    return float(host.vm(vm, "date", "+%s"))


def host_time(host: Any) -> Any:
    return float(host.dom0("date", "+%s"))


def test_a_vm_that_hangs_costs_its_own_deadline_and_no_other_vm_anything(host: Any, first: Any) -> None:
    own: dict[str, dict[str, Any]] = {vm: {"timezone": "Asia/Tokyo"} for vm in ZONES}
    own["personal"]["timeout"] = TIMEOUT
    host.pillar(own)
    host.dom0("xl", "pause", "personal")
    began = time.monotonic()
    code, report = host.highstate()
    seconds = time.monotonic() - began
    lines = by_vm(report, ZONES)
    assert code != 0
    assert lines["personal"].ok is False
    assert lines["personal"].changes == {}
    assert "personal: the agent did not acknowledge" in lines["personal"].comment
    assert f"within {TIMEOUT} s" in lines["personal"].comment
    assert seconds < ACKNOWLEDGE_SECONDS / 2
    for vm in ("sys-net", "work"):
        assert lines[vm].ok is True, lines[vm].comment
        assert host.vm(vm, "date", "+%Z") == "JST"

    host.dom0("xl", "unpause", "personal")
    assert host.vm("personal", "date", "+%Z") in ZONES["personal"]


@pytest.fixture
def watcher(host: Any) -> Iterator[Any]:
    """``vminterface watch`` in dom0, with settings for one VM."""
    settings = {"timezone": "Asia/Tokyo", "services": {"cups": True}, "timeout": ACKNOWLEDGE_SECONDS}
    host.dom0("tee", "/run/pillar.json", text=json.dumps({"qubes": {"vms": {"personal": settings}}}))
    host.dom0("sh", "-c", WATCHER)
    yield lambda: host.dom0("cat", "/run/watch.log")
    host.dom0("sh", "-c", END_WATCHER)


def test_a_vm_that_starts_again_is_given_its_settings_by_the_watcher(host: Any, watcher: Any) -> None:
    def has_its_zone() -> Any:
        return host.vm("personal", "date", "+%Z") == "JST"

    def has_its_service() -> Any:
        return "cups" in host.vm("personal", "ls", "/run/qubes-service")

    wait_until(has_its_zone, ACKNOWLEDGE_SECONDS, "the VM's time zone at the watcher's start")
    before = host.domids["personal"]
    assert host.restarted("personal") != before
    wait_until(has_its_zone, ACKNOWLEDGE_SECONDS, "the VM's time zone after its restart")
    wait_until(has_its_service, ACKNOWLEDGE_SECONDS, "the VM's service")
    assert "personal" in watcher()


def test_a_vm_that_ends_is_noticed_at_once_and_reported_as_gone(host: Any, first: Any) -> None:
    host.dom0("sh", "-c", "PYTHONPATH=/usr/local/lib/vminterface python3 -c '" + """
from vminterface.channel.xenstore.store import XenStore
from vminterface.deadline import Deadline
from vminterface.dom0.reports import changes
from vminterface.dom0.inventory.targets import Targets
seen = changes.Seen()
with Targets() as targets, targets.xenstore.watch(["@releaseDomain"]) as watch:
    changes.inspect(targets, seen)
    open("/run/watching", "w").close()
    happened = []
    while not happened:
        watch.next(Deadline.after(60))
        happened = changes.inspect(targets, seen)
    print([(one["event"], one["vm"]) for one in happened])
' >/run/happened 2>&1 </dev/null & while [ ! -e /run/watching ]; do sleep 0.1; done""")  # fmt: skip
    host.destroy("personal")
    host.dom0("sh", "-c", "while [ ! -s /run/happened ]; do sleep 0.1; done")
    assert host.dom0("cat", "/run/happened") == "[('stopped', 'personal')]"
