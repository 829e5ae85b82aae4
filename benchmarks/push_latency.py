"""How long it takes from a push until the VM's agent has applied and acknowledged it.

    PYTHONPATH=_utils:. python benchmarks/push_latency.py [--pushes 200] [--vms 200]

One key, one VM, one push after the other, with a real agent, on the real xenstored and on the lab's QubesDB: from the
call of ``push`` in a process that is there already to its outcome. Then one push to many VMs, each with a real agent
that has been there for a while, and the same with one of them stopped (SIGSTOP): what the other VMs take. At last the
first push that these agents see: dom0's own CPU time of it, and beside it that of all agents, which share the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.rows import Row, report
from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.qubesdb import QubesHost
from tests.support.realagent import RealAgent
from vminterface.deadline import Deadline
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.outcome import Outcome
from vminterface.dom0.push.push import push
from vminterface.vm.agent import presence
from vminterface.vm.machine.machine import Machine

#: Milliseconds of the middle one of a hundred pushes, and of the last but one.
P50, P99 = 5.0, 25.0
#: Seconds of a push to many VMs; of dom0's CPU in the first one.
MANY, FIRST_CPU = 1.0, 0.5
#: Where a push keeps its locks and what it has done.
FOLDERS = ("VMINTERFACE_LOCK_DIR", "VMINTERFACE_LOG_DIR")
ZONES = ("Europe/Warsaw", "Asia/Tokyo")


def one_key(vms: Sequence[str], number: int, timeout: float = 60.0) -> list[VMSettings]:
    """Return what changes one key of each of *vms* against what the push of another *number* made it."""
    return [VMSettings.parse(vm, {"timezone": ZONES[number % 2], "timeout": timeout}) for vm in vms]


def checked(outcomes: Sequence[Outcome], but: str = "") -> None:
    """Raise SystemExit unless all VMs but that one have it acknowledged: their comments say no more than that."""
    for one in outcomes:
        if one.vm != but and one.comment() != f"{one.vm}: timezone set":
            raise SystemExit(one.comment())


def latencies(open_targets: Callable[[], Targets], pushes: int) -> list[float]:
    """Return the milliseconds of each of some pushes to one VM."""
    taken = []
    for number in range(pushes + 10):
        desired = one_key(["work"], number)
        began = time.perf_counter()
        with open_targets() as targets:
            outcomes = push(desired, targets)
        milliseconds = 1000 * (time.perf_counter() - began)
        checked(outcomes)
        if number >= 10:
            taken.append(milliseconds)
    return taken


def of_one(channel: str, taken: Sequence[float]) -> list[Row]:
    """Return the rows of a channel."""
    p99 = statistics.quantiles(taken, n=100)[98]
    what = f"push, applied, acknowledged, {channel}"
    return [Row(f"{what}: p50", statistics.median(taken), P50, "ms"), Row(f"{what}: p99", p99, P99, "ms")]


def agent(host: Dom0 | QubesHost, name: str, root: Path, stack: ExitStack) -> RealAgent:
    """Start the agent of a VM, which knows the zones."""
    made = stack.enter_context(RealAgent(host, name, root / name))
    for zone in ZONES:
        made.zone(zone)
    return made


def until_at_work(agents: Sequence[RealAgent], seconds: float = 600.0) -> None:
    """Wait until all of them reply, as they do once they have read their stores."""
    deadline = Deadline.after(seconds)
    for one in agents:
        presence.version(Machine(str(one.root)), deadline)


def many(host: Dom0, folder: Path, vms: int) -> list[Row]:
    """Measure pushes to many VMs at once."""
    names = [f"vm{number}" for number in range(vms)]
    with ExitStack() as stack:
        agents = []
        for name in names:
            host.start_vm(name)
            agents.append(agent(host, name, folder, stack))
        until_at_work(agents)
        seconds, own, theirs = first(host, names, agents)
        again = []
        for number in (1, 2, 3):
            began = time.perf_counter()
            with host.targets() as targets:
                checked(push(one_key(names, number), targets))
            again.append(time.perf_counter() - began)
        stopped = agents[0].process.pid
        os.kill(stopped, signal.SIGSTOP)
        try:
            others = _others(host, names, names[0])
        finally:
            os.kill(stopped, signal.SIGCONT)
    print(f"  first push to {vms} VMs: {seconds:.2f} s, in which their agents had {theirs:.2f} s of CPU")
    return [
        Row(f"push of one key to {vms} VMs", min(again), MANY, "s"),
        Row(f"push of one key to {vms} VMs, one agent stopped: the others", others, MANY, "s"),
        Row(f"first push to {vms} agents: dom0's CPU", own, FIRST_CPU, "s"),
    ]


def first(host: Dom0, names: Sequence[str], agents: Sequence[RealAgent]) -> tuple[float, float, float]:
    """Push for the first time; return the seconds, and the seconds of CPU of this process and of all agents."""
    before, theirs = _own_cpu(), sum(map(_cpu, agents))
    began = time.perf_counter()
    with host.targets() as targets:
        checked(push(one_key(names, 0), targets))
    return time.perf_counter() - began, _own_cpu() - before, sum(map(_cpu, agents)) - theirs


def _others(host: Dom0, names: Sequence[str], stopped: str) -> float:
    """Return the seconds in which all VMs but one have acknowledged, while that one's time is not over yet."""
    began, done = time.perf_counter(), []
    desired = one_key(names, 0, timeout=20.0)
    target = ZONES[0].encode()

    def run() -> None:
        with host.targets() as targets:
            checked(push(desired, targets), but=stopped)
        done.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    with host.store() as store:
        paths = [f"/local/domain/{host.domids[vm]}/vminterface/ack/timezone" for vm in names if vm != stopped]
        zones = [f"/local/domain/{host.domids[vm]}/qubes-timezone" for vm in names if vm != stopped]
        while True:
            acknowledged = all(value is not None and value.startswith(b"ok ") for value in store.read_many(paths))
            if acknowledged and set(store.read_many(zones)) == {target}:
                break
            if time.perf_counter() - began > 15:
                raise SystemExit("the others have not acknowledged within 15 s")
            time.sleep(0.005)
    seconds = time.perf_counter() - began
    if done:
        raise SystemExit(f"{stopped} is stopped, and was not waited for")
    thread.join()
    return seconds


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _cpu(one: RealAgent) -> float:
    total = 0.0
    for task in Path(f"/proc/{one.process.pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description="From a push to its acknowledgement.")
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--vms", type=int, default=200)
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for variable in FOLDERS:
            os.environ[variable] = str(folder / variable)
        with Dom0(folder / "xen") as dom0, ExitStack() as stack:
            dom0.start_vm("work")
            until_at_work([agent(dom0, "work", folder / "xenstore", stack)])
            found += of_one("XenStore", latencies(dom0.targets, arguments.pushes))
        with QubesHost(folder / "qdb") as qubes, ExitStack() as stack:
            qubes.start_vm("work")
            until_at_work([agent(qubes, "work", folder / "qubesdb", stack)])
            found += of_one("QubesDB", latencies(qubes.targets, arguments.pushes))
        with Dom0(folder / "xen-many") as dom0:
            found += many(dom0, folder / "many", arguments.vms)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
