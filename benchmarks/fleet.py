"""A fleet seen and pushed to from one Salt master: real minions, and a thousand hosts by replayed returns.

    PYTHONPATH=_utils:. python benchmarks/fleet.py [--hosts 20] [--vms 20] [--simulated 1000]

The real part is a master and as many minions as are asked for on this machine, each with its own xenstored and VMs,
whose modules come with the library as from a package, so that nothing is synced: the time of ``qubes_fleet.status``, of
a push that finds nothing to do, and of one change in every VM. Then a highstate without changes on a few hosts, once
so and once with the modules synced from ``file_roots``: the master's processor time for each host.

The other part replays what one host returns, with other names, into the runner through Salt's own loader: its time, its
memory, and the size of what it returns, as text and as a page, for a tenth of the hosts and for all. Both must grow no
faster than the number of hosts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from benchmarks.rows import Row, report
from lab.paths import PROJECT
from lab.xenstored.fakexen import RealXenstored, missing
from vminterface.channel.store import Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.fleet.record import Condition, HostRecord, VMRecord

#: Seconds that a daemon has to be there, and that a command may take.
PATIENCE = 300
#: Hosts of the highstates.
FEW = 4
#: What is wanted: seconds for all simulated hosts, MiB of the runner's process, and how much more each host may cost
#: among all than among a tenth of them.
SECONDS, MEMORY, GROWTH = 20.0, 600.0, 1.5

#: Runs one of Salt's commands out of this environment.
_SCRIPT = "import sys; from salt.scripts import {0}; sys.argv[0] = '{1}'; {0}()"
PAST = 1_796_000_000


def returned(host: int, vms: int) -> dict[str, Any]:
    """Return what ``qubes_vm.summary`` returns on a host of a fleet: of twenty VMs one has drifted, one refused."""
    records = {}
    for number in range(vms):
        name = f"vm{number:02}"
        state = {7: "drifted", 11: "refused"}.get(number % 20, "converged")
        message = f"{name} refused timezone: no zone data" if state == "refused" else f"{name} is as configured"
        records[name] = VMRecord(
            name,
            state,
            domid=number + 1,
            conditions=(
                Condition("Running", True, PAST, "Running", f"{name} runs"),
                Condition("Applied", state == "converged", PAST, state.title(), message),
                Condition("AgentUp", True, PAST, "Announced", f"an agent is running in {name}"),
                Condition("Pushed", state == "converged", PAST, "Converged", f"{name}: the last push was good"),
            ),
            drift={"timezone": {"store": "UTC", "pillar": "Europe/Warsaw"}} if state == "drifted" else {},
            agent="0.1.0",
            pushed=PAST,
            acknowledged=PAST,
            used_kb=1000 * (host + number) % 400_000,
            maximum_kb=400_000,
        )
    return HostRecord(PAST, "0.1.0", records).as_data()


class Replay:
    """Stands for Salt's client: each host returns what was recorded of one."""

    def __init__(self, returns: Mapping[str, Any]) -> None:
        self._returns = returns

    def cmd_iter(self, *arguments: Any, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield the job, then each host's return, as Salt's client does."""
        yield {"jid": "1", "minions": list(self._returns)}
        for name, one in self._returns.items():
            yield {name: {"ret": one, "retcode": 0}}


def simulate(hosts: int, vms: int) -> dict[str, float]:
    """Run the runner's ``status`` over *hosts* replayed ones in this process; return what it cost."""
    import salt.client
    import salt.config
    import salt.loader

    from vminterface.dom0.fleet import lines, page
    from vminterface.dom0.fleet.fleet import Fleet

    returns = {f"dom0-{number:04}": returned(number, vms) for number in range(hosts)}
    # As they come off the wire: no object of one host is another's.
    returns = {name: json.loads(json.dumps(one)) for name, one in returns.items()}
    salt.client.get_local_client = lambda path: contextlib.nullcontext(Replay(returns))
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "runner_dirs": [str(PROJECT / "_runners")], "conf_file": ""}
    runners = salt.loader.runner(opts, context={})
    status = runners["qubes_fleet.status"]
    before = _memory()
    began = time.perf_counter()
    found = status()
    took = time.perf_counter() - began
    if found["counts"]["vms"] != hosts * vms:
        raise SystemExit(f"{found['counts']} (expected {hosts * vms} VMs)")
    return {
        "seconds": took,
        "mib": _memory() - before,
        "json": len(json.dumps(found)) / 2**20,
        "lines": len(lines.render(found).splitlines()),
        "page": len(page.render(Fleet.parse(found)).encode()) / 2**20,
    }


def _memory() -> float:
    """Return the most that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process(hosts: int, vms: int) -> dict[str, float]:
    """Return what :func:`simulate` returns in a process of its own, so that none has another's memory."""
    command = [sys.executable, __file__, "--only-simulate", str(hosts), "--vms", str(vms)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=PATIENCE)
    data: dict[str, float] = json.loads(done.stdout)
    return data


class Salt:
    """A master and *hosts* minions below *folder*, each with a xenstored and *vms* VMs; use it in ``with``."""

    def __init__(self, folder: Path, hosts: int, vms: int, *, synced: bool) -> None:
        self.names = [f"dom0-{number:02}" for number in range(hosts)]
        self._folder, self._vms, self._synced = folder, vms, synced
        self._stack = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stores: dict[str, str] = {}

    def __enter__(self) -> Salt:
        ports = _free_ports(2)
        pillar = {"qubes": {"defaults": {"timezone": "Europe/Warsaw", "services": {"cups": False}}, "vms": {}}}
        pillar["qubes"]["vms"] = {f"vm{number:02}": {} for number in range(self._vms)}
        roots = self._folder / "srv"
        (roots / "pillar").mkdir(parents=True)
        (roots / "salt").mkdir()
        if self._synced:
            for folder in PROJECT.glob("_[a-z]*"):
                (roots / "salt" / folder.name).symlink_to(folder)
        (roots / "salt/top.sls").write_text("base: {'*': [vminterface]}")
        (roots / "pillar/top.sls").write_text("base: {'*': [data]}")
        (roots / "pillar/data.sls").write_text("#!json\n" + json.dumps(pillar))
        master = {
            "interface": "127.0.0.1", "publish_port": ports[0], "ret_port": ports[1], "auto_accept": True,
            "file_roots": {"base": [str(roots / "salt"), str(PROJECT / "formulas")]},
            "pillar_roots": {"base": [str(roots / "pillar")]}, "worker_threads": 5,
            "runner_dirs": [str(PROJECT / "_runners")], "outputter_dirs": [str(PROJECT / "_output")],
        }  # fmt: skip
        self._start("salt_master", self._config("master", "master", master))
        minion = {
            "master": "127.0.0.1", "publish_port": ports[0], "master_port": ports[1], "enable_fqdns_grains": False,
            "acceptance_wait_time": 1, "random_startup_delay": 0, "grains_cache": True,
        }  # fmt: skip
        if not self._synced:
            minion["module_dirs"] = [str(PROJECT)]
        for name in self.names:
            daemon = self._stack.enter_context(RealXenstored(self._folder / name / "xen"))
            self._stores[name] = daemon.socket_path
            self._fill(daemon)
            own = {"XENSTORED_PATH": daemon.socket_path}
            own |= {f"VMINTERFACE_{one}": str(self._folder / name / one) for one in ("LOCK_DIR", "LOG_DIR", "ROLLOUTS")}
            self._start("salt_minion", self._config(name, "minion", {**minion, "id": name}), own)
        self._await()
        return self

    def _config(self, name: str, kind: str, options: Mapping[str, Any]) -> Path:
        folder = self._folder / name / "etc"
        folder.mkdir(parents=True)
        root = {"root_dir": str(self._folder / name / "root"), "user": "root", "log_level_logfile": "error"}
        (folder / kind).write_text(json.dumps({**root, **options}))
        return folder

    def _fill(self, daemon: RealXenstored) -> None:
        with XenStore.open(daemon.socket_path) as store:
            for domid in range(1, self._vms + 1):
                daemon.create(domid)
                home = f"/local/domain/{domid}"
                named = Write(f"{home}/name", f"vm{domid - 1:02}".encode())
                memory = [Write(f"{home}/memory/{key}", b"300000") for key in ("meminfo", "static-max")]
                store.batch([named, *memory])

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": "" if self._synced else str(PROJECT / "_utils"), "PYTHONWARNINGS": "ignore"}

    def _start(self, script: str, etc: Path, more: Mapping[str, str] | None = None) -> None:
        command = [sys.executable, "-c", _SCRIPT.format(script, script.replace("_", "-")), "-c", str(etc)]
        with open(etc / "log", "wb") as log:
            process = subprocess.Popen(
                command, env={**self._environment(), **(more or {})}, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)

    def run(self, script: str, *words: str) -> Any:
        """Run one of the master's commands and return what it prints as JSON."""
        command = [sys.executable, "-c", _SCRIPT.format(script, script.replace("_", "-"))]
        etc = str(self._folder / "master/etc")
        done = subprocess.run(
            [*command, "-c", etc, "--out=json", *(["--static", "-t", "60"] if script == "salt_main" else []), *words],
            env={**os.environ, "PYTHONPATH": str(PROJECT / "_utils"), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return json.loads(done.stdout) if done.stdout.strip() else None

    def _await(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.run("salt_main", "*", "test.ping") or {}
            if {name for name, one in found.items() if one is True} == set(self.names):
                return
        raise SystemExit(f"not all of {len(self.names)} minions have connected in {PATIENCE} s")

    def seconds(self) -> tuple[float, float]:
        """Return the processor time that the master has taken, and that of all minions; what has ended counts too."""
        master, *minions = (_seconds(process) for process in self._processes)
        return master, sum(minions)

    def mib(self) -> tuple[float, float]:
        """Return the memory of the master's processes, and that of the minions for each host; shared pages in parts."""
        master, *minions = (_mib(process) for process in self._processes)
        return master, sum(minions) / len(minions)

    def unset(self) -> None:
        """Let every VM have another zone than the pillar gives it."""
        for path in self._stores.values():
            with XenStore.open(path) as store:
                store.batch([Write(f"/local/domain/{n}/qubes-timezone", b"UTC") for n in range(1, self._vms + 1)])

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
        self._stack.close()


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


def _seconds(process: subprocess.Popen[bytes]) -> float:
    times = [one.cpu_times() for one in _family(process)]
    return float(sum(one.user + one.system + one.children_user + one.children_system for one in times))


def _mib(process: subprocess.Popen[bytes]) -> float:
    return float(sum(one.memory_full_info().pss for one in _family(process)) / 2**20)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def timed(salt: Salt, what: str, run: Any) -> Any:
    """Print how long *run* takes, and the processor time of the command, the master and each host; return its value."""
    before, ours, began = salt.seconds(), _own_seconds(), time.perf_counter()
    found = run()
    took = time.perf_counter() - began
    # A minion's job ends a moment after its reply has come.
    time.sleep(2)
    master, minions = (new - old for old, new in zip(before, salt.seconds(), strict=True))
    print(
        f"  {what:<44} {took:6.1f} s; processor: command {_own_seconds() - ours:.1f} s, master {master:.1f} s,"
        f" each host {minions / len(salt.names):.2f} s; load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    return found


def _own_seconds() -> float:
    """Return the processor time of the commands that have been run and have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def real(hosts: int, vms: int) -> None:
    """Measure a real master with *hosts* minions."""
    with tempfile.TemporaryDirectory() as folder, Salt(Path(folder), hosts, vms, synced=False) as salt:
        salt.run("salt_main", "*", "qubes_vm.push")
        master, minion = salt.mib()
        print(f"  {hosts} minions x {vms} VMs; memory: master {master:.0f} MiB, each minion {minion:.0f} MiB")
        found = timed(salt, "qubes_fleet.status", lambda: salt.run("salt_run", "qubes_fleet.status", "timeout=60"))
        if found["counts"]["converged"] != hosts * vms:
            raise SystemExit(f"{found['counts']} (expected {hosts * vms} converged VMs): {found['unknown']}")
        timed(salt, "qubes_vm.push, nothing to do", lambda: salt.run("salt_main", "*", "qubes_vm.push"))
        salt.unset()
        timed(salt, "qubes_vm.push, one change in every VM", lambda: salt.run("salt_main", "*", "qubes_vm.push"))
        salt.unset()
        words = ("qubes_fleet.push", "zones", "canary=[dom0-00]", "batch=50%")
        found = timed(salt, "qubes_fleet.push, one change, three batches", lambda: salt.run("salt_run", *words))
        if found["ended"] != "complete":
            raise SystemExit(found["comment"])


def highstates(hosts: int, vms: int) -> None:
    """Measure what a highstate without changes costs the master, with modules of a package and with synced ones."""
    for synced in (False, True):
        with tempfile.TemporaryDirectory() as folder, Salt(Path(folder), hosts, vms, synced=synced) as salt:
            for _ in range(2):
                salt.run("salt_main", "*", "state.highstate")
            timed(
                salt,
                f"highstate of {hosts} hosts, {'synced' if synced else 'package'}",
                lambda: salt.run("salt_main", "*", "state.highstate"),
            )


def main() -> int:
    parser = argparse.ArgumentParser(description="A fleet seen and pushed to from one Salt master.")
    parser.add_argument("--hosts", type=int, default=20, help="real minions; 0: none")
    parser.add_argument("--vms", type=int, default=20)
    parser.add_argument("--simulated", type=int, default=1000, help="hosts by replayed returns")
    parser.add_argument("--only-simulate", type=int, metavar="HOSTS", help="print what it costs, as JSON")
    arguments = parser.parse_args()
    if arguments.only_simulate:
        print(json.dumps(simulate(arguments.only_simulate, arguments.vms)))
        return 0
    tenth, every = (in_a_process(n, arguments.vms) for n in (max(1, arguments.simulated // 10), arguments.simulated))
    for hosts, one in ((max(1, arguments.simulated // 10), tenth), (arguments.simulated, every)):
        print(
            f"  {hosts} simulated hosts x {arguments.vms} VMs: {one['seconds']:.2f} s, {one['mib']:.0f} MiB,"
            f" {one['json']:.1f} MiB of JSON, {one['lines']:.0f} lines, a page of {one['page']:.1f} MiB",
            flush=True,
        )
    if arguments.hosts and not missing():
        real(arguments.hosts, arguments.vms)
        highstates(min(FEW, arguments.hosts), arguments.vms)
    growth = every["seconds"] / tenth["seconds"] / (arguments.simulated / max(1, arguments.simulated // 10))
    name = f"status of {arguments.simulated} hosts x {arguments.vms} VMs"
    return report(
        [
            Row(name, every["seconds"], SECONDS, "s"),
            Row(f"{name}: memory of the runner", every["mib"], MEMORY, "MiB"),
            Row(f"{name}: time a host / that of a tenth", growth, GROWTH),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
