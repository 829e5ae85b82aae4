"""Service calls from dom0 into real VMs: each over a vchan of its own, answered by the shipped handlers.

The tests leave the shared host as they find it, with its clocks right and without the VMs that they add.
"""

import json
import time
from datetime import datetime

import pytest

from lab.saltdir import parse_report
from lab.xen.host import VM
from vminterface.deadline import Deadline

SIZE = 50 << 20
#: Seconds by which the time server of these tests is ahead of everybody.
AHEAD = 1800
HOUR = 3600
#: What is left between two clocks that were set one after the other, in an emulated machine that stops at times.
NEAR = 20
SALT_SECONDS = 240
#: What is run in dom0: a function for each call.
BEGIN = """
import json, subprocess, time
from vminterface.channel.qrexec import Call, Qrexec
from vminterface.dom0 import rpc
from vminterface.dom0.services import files
from vminterface.errors import VMInterfaceError
from vminterface.wire import vmexec
qrexec, done = Qrexec(), {}
"""
END = """
for name, function in calls.items():
    began = time.monotonic()
    try:
        said = function()
    except VMInterfaceError as error:
        said = {"error": type(error).__name__, "text": str(error)}
    done[name] = {"said": said, "seconds": time.monotonic() - began}
print(json.dumps(done))
"""


def all_called(host, bodies, seconds=120):
    """What each function body of *bodies*, by name, returns or raises in dom0, and how long it takes there."""
    functions = [
        f"def call_{number}():\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
        for number, body in enumerate(bodies.values())
    ]
    table = ", ".join(f"{name!r}: call_{number}" for number, name in enumerate(bodies))
    source = f"{BEGIN}{''.join(functions)}calls = {{{table}}}\n{END}"
    return json.loads(host.python(source, seconds=seconds))


def called(host, body, seconds=120):
    """The same for one."""
    return all_called(host, {"": body}, seconds)[""]


def left_over(host):
    """What dom0 has of calls: processes besides the one that waits for calls, and nodes of vchans."""
    processes = host.dom0("sh", "-c", "grep -lz lab.xen.inside.[q]rexec_dom0 /proc/[0-9]*/cmdline | wc -l")
    nodes = host.dom0("sh", "-c", "xenstore-ls -f /local/domain/0/data 2>/dev/null || true")
    return int(processes) - 1, nodes.splitlines()


def assert_nothing_is_left(host):
    deadline = Deadline.after(10)
    while left_over(host) != (0, []) and not deadline.passed:
        time.sleep(0.2)
    assert left_over(host) == (0, [])


@pytest.fixture(scope="module", autouse=True)
def report_seconds(host, say):
    say("service calls")


@pytest.fixture
def extra(host):
    """A VM for the one test that ends it."""
    host.create(VM("doomed", memory_mib=320))
    yield "doomed"
    if "doomed" in host.domids:
        host.destroy("doomed")


@pytest.fixture(scope="module")
def answers(host):
    """What comes of calls that need nothing else."""
    host.vm("work", "mkdir", "-p", "/run/qubes-rpc")
    host.vm("work", "tee", "/run/qubes-rpc/test.Who", text='#!/bin/sh\necho "$QREXEC_REMOTE_DOMAIN $1"\n')
    host.vm("work", "chmod", "755", "/run/qubes-rpc/test.Who")
    return all_called(host, {
        "date": "return qrexec.call('work', 'qubes.GetDate').untrusted_stdout.decode()",
        "streams": """
script = 'wc -c; echo complaint >&2; id -un; exit 7'
return rpc.vm_exec(qrexec, 'work', ['sh', '-c', script], stdin='x' * 300000)
""",
        "who": "return qrexec.call('work', 'test.Who', 'word').untrusted_stdout.decode()",
        "no service": "qrexec.call('work', 'no.SuchService')",
        "no vm": "qrexec.call('elsewhere', 'qubes.GetDate')",
        "many": """
calls = [Call(vm, 'qubes.VMExec', vmexec.encode([b'sh', b'-c', b'hostname; cat']), stdin=b'%d' % n * 5000)
         for n, vm in enumerate(['work', 'personal', 'work'])]
return [getattr(one, 'untrusted_stdout', str(one).encode()).decode() for one in qrexec.call_many(calls)]
""",
    })  # fmt: skip


def test_a_service_answers(answers):
    assert datetime.fromisoformat(answers["date"]["said"].strip()).tzinfo is not None


def test_input_both_outputs_and_the_exit_status_are_carried(answers):
    assert answers["streams"]["said"] == {"status": 7, "stdout": "300000\nuser", "stderr": "complaint"}


def test_a_service_sees_who_calls_and_its_argument(answers):
    assert answers["who"]["said"] == "dom0 word\n"


def test_a_service_that_the_vm_does_not_have_is_not_found(answers):
    assert answers["no service"]["said"]["error"] == "ServiceNotFound"


def test_a_vm_that_does_not_run_is_said_to_be_that(answers):
    assert answers["no vm"]["said"]["error"] == "VMNotRunning"


def test_calls_at_the_same_time_do_not_mix(answers):
    vms = ["work", "personal", "work"]
    assert answers["many"]["said"] == [f"{vm}\n{str(number) * 5000}" for number, vm in enumerate(vms)]


def test_calls_leave_nothing_behind_in_dom0(host, answers):
    assert_nothing_is_left(host)


def test_a_paused_vm_costs_the_calls_deadline_and_answers_again_afterwards(host):
    host.dom0("xl", "pause", "personal")
    done = all_called(host, {
        "paused": "qrexec.call('personal', 'qubes.GetDate', timeout=6)",
        "unpaused": """
subprocess.run(['xl', 'unpause', 'personal'], check=True)
return qrexec.call('personal', 'qubes.GetDate').status
""",
    })  # fmt: skip
    assert done["paused"]["said"]["error"] == "DeadlineExceeded"
    assert 6 <= done["paused"]["seconds"] < 10
    assert done["unpaused"]["said"] == 0
    assert_nothing_is_left(host)


def test_filecopy_brings_50_mb_whole(host, say):
    host.dom0("sh", "-c", f"head -c {SIZE} /dev/urandom >/root/large")
    done = called(host, """
return rpc.filecopy(qrexec, 'work', ['/root/large'], timeout=300)
""", seconds=320)  # fmt: skip
    assert done["said"] == {"total_bytes": SIZE, "skipped": []}
    say(f"filecopy of {SIZE >> 20} MiB took {done['seconds']:.1f} s")
    arrived = "/home/user/QubesIncoming/dom0/large"
    assert host.vm("work", "stat", "-c", "%s %U", arrived) == f"{SIZE} user"
    here, there = host.dom0("sha256sum", "/root/large"), host.vm("work", "sha256sum", arrived)
    assert here.split()[0] == there.split()[0]
    host.vm("work", "rm", "-r", "/home/user/QubesIncoming")
    host.dom0("rm", "/root/large")
    assert_nothing_is_left(host)


def test_a_vm_that_does_not_read_is_waited_for_in_little_memory(host):
    done = called(host, """
began, early = time.monotonic(), []
def pieces():
    for _ in range(160):
        yield bytes(65536)
def progress(count, _):
    if time.monotonic() - began < 6:
        early.append(count)
script = b'sleep 9; wc -c'
answer = qrexec.call('work', 'qubes.VMExec', vmexec.encode([b'sh', b'-c', script]), stdin=pieces(), progress=progress)
return [max(early), int(answer.untrusted_stdout)]
""")  # fmt: skip
    before, whole = done["said"]
    assert whole == 160 * 65536
    assert 0 < before < 2 << 20


def test_the_monitor_layout_is_what_the_vms_x_server_shows(host):
    show_screens(host, "work")
    done = called(host, """
layout = [{'width': 1920, 'height': 1080, 'x': 0, 'y': 0, 'width_mm': 508, 'height_mm': 285},
          {'width': 1280, 'height': 800, 'x': 1920, 'y': 0}]
return [rpc.set_monitor_layout(qrexec, 'work', layout), rpc.get_monitor_layout(qrexec, 'work')]
""")  # fmt: skip
    listed = host.vm("work", "env", "DISPLAY=:0", "xrandr", "--listactivemonitors").splitlines()
    assert [line.split()[2] for line in listed[1:]] == ["1920/508x1080/285+0+0", "1280/339x800/212+1920+0"]
    told = [(one["width"], one["height"], one["x"]) for one in done["said"][1]]
    assert told == [(1920, 1080, 0), (1280, 800, 1920)]


def show_screens(host, vm):
    """Start the VM's X server, with the sign of a session, and wait for it."""
    path = "PYTHONPATH=/usr/lib/vminterface-lab:/usr/lib/vminterface"
    host.vm(
        vm,
        "sh",
        "-c",
        f"""
[ -e /run/screens ] || {path} python3 -m lab.session >/run/screens 2>/var/log/session </dev/null &
for i in $(seq 100); do [ -s /run/screens ] && break; sleep 0.3; done""",
    )
    assert host.vm(vm, "cat", "/run/screens").startswith("ready Xorg")


def test_clocks_are_brought_to_what_a_time_server_says(host, first, say):
    """sys-net asks the server, whose time is nobody's here, by chrony; then the other VM is told."""
    start_time_server(host, "personal")
    address = json.loads(host.vm("personal", "ip", "-j", "address", "show", "eth0"))[0]["addr_info"][0]["local"]
    host.vm("sys-net", "tee", "/run/chrony.conf", text=f"server {address} iburst\nuser root\nmakestep 1 -1\n")
    host.vm("sys-net", "chronyd", "-f", "/run/chrony.conf")
    right = host_time(host) + AHEAD
    host.vm("work", "date", "-u", "-s", f"@{int(time_in(host, 'work')) + HOUR}")
    assert abs(time_in(host, "work") - host_time(host) - HOUR) < NEAR  # a PV guest's clock is its own

    began = time.monotonic()
    synced(host, "clock_vm=sys-net", "vms=[work]")
    say(f"the clocks were synced in {time.monotonic() - began:.0f} s")
    right += time.monotonic() - began
    for vm in ("sys-net", "work"):
        assert abs(time_in(host, vm) - right) < NEAR, vm
    assert abs(host_time(host) + AHEAD - right) < NEAR  # dom0's own is not touched


def test_without_a_clock_vm_dom0s_time_is_the_right_one(host, first):
    host.vm("sys-net", "sh", "-c", "kill $(cat /run/chrony/chronyd.pid)")
    host.vm("work", "date", "-u", "-s", f"@{int(host_time(host)) - HOUR}")
    # One after the other: an emulated host is slow where several VMs are at work.
    for vm in ("work", "sys-net"):
        synced(host, f"vms=[{vm}]")
        assert abs(time_in(host, vm) - host_time(host)) < NEAR, vm


def start_time_server(host, vm):
    program = "/usr/lib/vminterface-lab/lab/xen/inside/ntpserver.py"
    host.vm(vm, "sh", "-c", f"python3 {program} {AHEAD} >/run/ntpserver 2>&1 </dev/null & sleep 1")
    assert host.vm(vm, "cat", "/run/ntpserver") == ""


def synced(host, *arguments):
    """Run the state ``qubes_vm.clock_synced`` with *arguments*."""
    words = ["salt-call", "--local", "--out=json", "state.single", "qubes_vm.clock_synced", "clocks", *arguments]
    done = host.machine.call(words, seconds=SALT_SECONDS)
    report = parse_report(done.returncode, done.stdout, done.stderr)
    assert all(line.ok is True for line in report), [line.comment for line in report]


def time_in(host, vm):
    return float(host.vm(vm, "date", "+%s"))


def host_time(host):
    return float(host.dom0("date", "+%s"))


def test_a_vm_that_is_destroyed_in_the_middle_of_a_filecopy(host, extra, say):
    host.dom0("sh", "-c", f"head -c {SIZE} /dev/zero >/root/large")
    done = called(host, f"""
def progress(done, *_):
    if done > {SIZE // 10} and not ended:
        ended.append(subprocess.run(['xl', 'destroy', '{extra}'], check=True))
        ended.append(time.monotonic())
ended = []
try:
    files.send(qrexec, '{extra}', ['/root/large'], progress=progress, timeout=120)
except VMInterfaceError as error:
    return [type(error).__name__, str(error), time.monotonic() - ended[1]]
""", seconds=150)  # fmt: skip
    del host.domids[extra]
    host.dom0("rm", "/root/large")
    say(f"said of the VM that went: {done['said']}")
    kind, text, seconds = done["said"]
    assert kind == "ServiceFailed"
    assert text.startswith(f"qubes.Filecopy in {extra}: ")
    assert seconds < 15
    assert_nothing_is_left(host)
    domains = [line.split()[0] for line in host.dom0("xl", "list").splitlines()[1:]]
    assert sorted(domains) == ["Domain-0", "personal", "sys-net", "work"]
