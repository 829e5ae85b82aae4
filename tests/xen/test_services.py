"""Service calls from dom0 into real VMs: each over a vchan of its own, answered by the shipped handlers.

The tests leave the shared host as they find it, but for the last one.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest

from vminterface.deadline import Deadline

SIZE = 50 << 20
#: What is run in dom0: a function for each call.
BEGIN = """
import json, subprocess, time
from vminterface.channel.qrexec.client import Call, Qrexec
from vminterface.dom0.ensure import display
from vminterface.dom0.services import commands, files, monitors
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


def all_called(host: Any, bodies: Any, seconds: Any = 360) -> Any:
    """What each function body of *bodies*, by name, returns or raises in dom0, and how long it takes there."""
    functions = [
        f"def call_{number}():\n" + "".join(f"    {line}\n" for line in body.strip().splitlines())
        for number, body in enumerate(bodies.values())
    ]
    table = ", ".join(f"{name!r}: call_{number}" for number, name in enumerate(bodies))
    source = f"{BEGIN}{''.join(functions)}calls = {{{table}}}\n{END}"
    return json.loads(host.python(source, seconds=seconds))


def called(host: Any, body: Any, seconds: Any = 360) -> Any:
    """The same for one."""
    return all_called(host, {"": body}, seconds)[""]


def left_over(host: Any) -> Any:
    """What dom0 has of calls: processes besides the one that waits for calls, and nodes of vchans."""
    processes = host.dom0("sh", "-c", "grep -lz lab.xen.inside.[q]rexec_dom0 /proc/[0-9]*/cmdline | wc -l")
    nodes = host.dom0("sh", "-c", "xenstore-ls -f /local/domain/0/data 2>/dev/null || true")
    return int(processes) - 1, nodes.splitlines()


def assert_nothing_is_left(host: Any) -> None:
    deadline = Deadline.after(60)
    while left_over(host) != (0, []) and not deadline.passed:
        time.sleep(0.2)
    assert left_over(host) == (0, [])


@pytest.fixture(scope="module", autouse=True)
def report_seconds(host: Any, say: Any) -> None:
    say("service calls")


@pytest.fixture(scope="module")
def replies(host: Any) -> Any:
    """What comes of calls that need nothing else."""
    host.vm("work", "mkdir", "-p", "/run/qubes-rpc")
    host.vm("work", "tee", "/run/qubes-rpc/test.Who", text='#!/bin/sh\necho "$QREXEC_REMOTE_DOMAIN $1"\n')
    host.vm("work", "chmod", "755", "/run/qubes-rpc/test.Who")
    return all_called(host, {
        "date": "return qrexec.call(Call('work', 'qubes.GetDate')).untrusted_stdout.decode()",
        "streams": """
script = 'wc -c; echo complaint >&2; id -un; exit 7'
return commands.execute(qrexec, 'work', ['sh', '-c', script], stdin=b'x' * 300000).as_data()
""",
        "who": "return qrexec.call(Call('work', 'test.Who', 'word')).untrusted_stdout.decode()",
        "no service": "qrexec.call(Call('work', 'no.SuchService'))",
        "no vm": "qrexec.call(Call('elsewhere', 'qubes.GetDate'))",
        "many": """
calls = [Call(vm, 'qubes.VMExec', vmexec.encode([b'sh', b'-c', b'hostname; cat']), stdin=b'%d' % n * 5000)
         for n, vm in enumerate(['work', 'personal', 'work'])]
return [getattr(one, 'untrusted_stdout', str(one).encode()).decode() for one in qrexec.call_many(calls)]
""",
    })  # fmt: skip


def test_a_service_answers(replies: Any) -> None:
    assert datetime.fromisoformat(replies["date"]["said"].strip()).tzinfo is not None


def test_input_both_outputs_and_the_exit_status_are_carried(replies: Any) -> None:
    assert replies["streams"]["said"] == {"status": 7, "stdout": "300000\nuser", "stderr": "complaint"}


def test_a_service_sees_who_calls_and_its_argument(replies: Any) -> None:
    assert replies["who"]["said"] == "dom0 word\n"


def test_a_service_that_the_vm_does_not_have_is_not_found(replies: Any) -> None:
    assert replies["no service"]["said"]["error"] == "ServiceNotFound"


def test_a_vm_that_does_not_run_is_said_to_be_that(replies: Any) -> None:
    assert replies["no vm"]["said"]["error"] == "VMNotRunning"


def test_calls_at_the_same_time_do_not_mix(replies: Any) -> None:
    vms = ["work", "personal", "work"]
    assert replies["many"]["said"] == [f"{vm}\n{str(number) * 5000}" for number, vm in enumerate(vms)]


def test_calls_leave_nothing_behind_in_dom0(host: Any, replies: Any) -> None:
    assert_nothing_is_left(host)


def test_a_paused_vm_costs_the_calls_deadline_and_answers_again_afterwards(host: Any) -> None:
    host.dom0("xl", "pause", "personal")
    done = all_called(host, {
        "paused": "qrexec.call(Call('personal', 'qubes.GetDate', timeout=2))",
        "unpaused": """
subprocess.run(['xl', 'unpause', 'personal'], check=True)
return qrexec.call(Call('personal', 'qubes.GetDate')).status
""",
    })  # fmt: skip
    assert done["paused"]["said"]["error"] == "DeadlineExceeded"
    assert 2 <= done["paused"]["seconds"] < 30
    assert done["unpaused"]["said"] == 0
    assert_nothing_is_left(host)


def test_filecopy_brings_50_mb_whole(host: Any, say: Any) -> None:
    host.dom0("sh", "-c", f"cat /boot/vm.cpio /boot/vmlinux /boot/*.cpio | head -c {SIZE} >/root/large")
    done = called(host, """
return files.send(qrexec, 'work', ['/root/large'], timeout=600).as_data()
""", seconds=620)  # fmt: skip
    assert done["said"] == {"total_bytes": SIZE, "skipped": []}
    say(f"filecopy of {SIZE >> 20} MiB took {done['seconds']:.1f} s")
    arrived = "/home/user/QubesIncoming/dom0/large"
    assert host.vm("work", "stat", "-c", "%s %U", arrived) == f"{SIZE} user"
    here, there = host.dom0("md5sum", "/root/large"), host.vm("work", "md5sum", arrived)
    assert here.split()[0] == there.split()[0]
    host.vm("work", "rm", "-r", "/home/user/QubesIncoming")
    host.dom0("rm", "/root/large")
    assert_nothing_is_left(host)


def test_a_vm_that_does_not_read_is_waited_for_in_little_memory(host: Any) -> None:
    done = called(host, """
began, early = time.monotonic(), []
def pieces():
    for _ in range(96):
        yield bytes(65536)
def progress(count, _):
    if time.monotonic() - began < 2:
        early.append(count)
script = b'sleep 4; wc -c'
command = vmexec.encode([b'sh', b'-c', script])
answer = qrexec.call(Call('work', 'qubes.VMExec', command, stdin=pieces(), progress=progress))
return [max(early), int(answer.untrusted_stdout)]
""")  # fmt: skip
    before, whole = done["said"]
    assert whole == 96 * 65536
    assert 0 < before < 2 << 20


def test_the_monitor_layout_is_what_the_vms_x_server_shows(host: Any) -> None:
    start_screens(host, "work")
    done = called(host, """
layout = [{'width': 1920, 'height': 1080, 'x': 0, 'y': 0, 'width_mm': 508, 'height_mm': 285},
          {'width': 1280, 'height': 800, 'x': 1920, 'y': 0}]
monitors.set_layout(qrexec, 'work', display.desired(layout))
return monitors.as_mappings(monitors.of_vm(qrexec, 'work').layout)
""")  # fmt: skip
    listed = host.vm("work", "env", "DISPLAY=:0", "xrandr", "--listactivemonitors").splitlines()
    assert [line.split()[2] for line in listed[1:]] == ["1920/508x1080/285+0+0", "1280/339x800/212+1920+0"]
    told = [(one["width"], one["height"], one["x"]) for one in done["said"]]
    assert told == [(1920, 1080, 0), (1280, 800, 1920)]


def start_screens(host: Any, vm: Any) -> None:
    """Start the VM's X server, with the sign of a session, and wait for it."""
    path = "PYTHONPATH=/usr/lib/vminterface-lab:/usr/lib/vminterface"
    host.vm(
        vm,
        "sh",
        "-c",
        f"""
[ -e /run/screens ] || {path} python3 -m lab.guest.session >/run/screens 2>/var/log/session </dev/null &
until [ -s /run/screens ]; do sleep 0.3; done""",
    )
    assert host.vm(vm, "cat", "/run/screens").startswith("ready Xorg"), host.vm(vm, "cat", "/var/log/session")


def test_a_vm_that_is_destroyed_in_the_middle_of_a_filecopy(host: Any, say: Any) -> None:
    host.dom0("sh", "-c", f"head -c {SIZE} /dev/zero >/root/large")
    done = called(host, f"""
def progress(done, *_):
    if done > {SIZE // 10} and not ended:
        ended.append(subprocess.run(['xl', 'destroy', 'work'], check=True))
        ended.append(time.monotonic())
ended = []
try:
    files.send(qrexec, 'work', ['/root/large'], progress=progress, timeout=300)
except VMInterfaceError as error:
    return [type(error).__name__, str(error), time.monotonic() - ended[1]]
""", seconds=330)  # fmt: skip
    del host.domids["work"]
    host.dom0("rm", "/root/large")
    say(f"said of the VM that went: {done['said']}")
    kind, text, seconds = done["said"]
    assert kind == "ServiceFailed"
    assert text.startswith("qubes.Filecopy in work: ")
    assert seconds < 60
    assert_nothing_is_left(host)
    domains = [line.split()[0] for line in host.dom0("xl", "list").splitlines()[1:]]
    assert sorted(domains) == ["Domain-0", "personal", "sys-net"]
