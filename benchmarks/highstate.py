"""A highstate that changes nothing, 200 VMs with 20 keys each, against one of 200 states that do nothing at all.

    PYTHONPATH=_utils:. python benchmarks/highstate.py [--vms N] [--rounds N]

Both are whole runs of ``salt-call --local state.highstate`` by the Python that runs this file, in the same dom0: the
same configuration, modules and pillar, which names all VMs; one has the formula's push in its top file, the other as
many ``test.nop`` states as there are VMs. The store is the real xenstored; every VM's agent has acknowledged all. Each
pair of runs is made twice: with everything pinned to one CPU, and spread over two. Rounds alternate, medians are
compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, report
from lab.paths import PROJECT
from lab.xenstored.fakexen import RealXenstored
from vminterface import keys
from vminterface.channel.store import Operation, SetPermissions, Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings, parse_pillar
from vminterface.values.acknowledgement import Acknowledgement, digest
from vminterface.values.announcement import Announcement

DESIRED = 1.08
KEYS = 20
RUN = "from salt.scripts import salt_call; salt_call()"
#: As in a dom0, where Python keeps what it has compiled.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def pillar(vms: int) -> dict[str, Any]:
    """Return a pillar of *vms* VMs that has 20 keys for each."""
    services = ("cups", "crond", "meminfo-writer", "clocksync", "network-manager", "updates-proxy-setup")
    common = {
        "type": "AppVM",
        "updateable": False,
        "persistence": "rw-only",
        "default_user": "user",
        "timezone": "Europe/Warsaw",
        "keyboard": "pl+dvorak",
        "debug": False,
        "services": {service: n % 2 == 0 for n, service in enumerate(services)},
    }
    network = {"netmask": "255.255.255.255", "gateway": "10.137.255.1", "dns": ["10.139.1.1", "10.139.1.2"]}
    return {
        "qubes": {
            "vms": {
                f"vm{n}": {
                    **common,
                    "network": {
                        **network,
                        "ip": f"10.137.{n // 250}.{n % 250}",
                        "mac": f"00:16:3e:5e:6c:{n % 256:02x}",
                    },
                }
                for n in range(1, vms + 1)
            }
        }
    }


def configure(store: XenStore, settings: VMSettings, domid: int) -> None:
    """Let the VM have its settings and let its agent have acknowledged them."""
    texts = {f: text for f, value in settings.desired.items() if (text := keys.text_of(f, value)) is not None}
    assert len(texts) == KEYS, len(texts)
    home = f"/local/domain/{domid}"
    texts["name"] = settings.vm
    promised = keys.settings_of(texts)
    replies = {keys.AGENT: Announcement("0.1.0", frozenset(promised)).render()}
    for setting in promised:
        replies[keys.acknowledgement(setting)] = Acknowledgement(True, digest(keys.inputs_of(setting, texts))).render()
    operations: list[Operation] = [Write(f"{home}/{keys.for_field(f).name}", t.encode()) for f, t in texts.items()]
    operations += [
        Write(f"{home}/{keys.ACKNOWLEDGEMENTS}", b""),
        SetPermissions(f"{home}/{keys.ACKNOWLEDGEMENTS}", (f"n{domid}",)),
    ]
    operations += [Write(f"{home}/{name}", text.encode()) for name, text in replies.items()]
    for outcome in store.batch(operations):
        if isinstance(outcome, Exception):
            raise outcome


def minion(folder: Path, data: dict[str, Any], states: dict[str, Any]) -> Path:
    """Make a masterless minion's configuration below *folder*, with *states* as what its top file names."""
    modules, pillars, top, etc = (folder / name for name in ("modules", "pillar", "top", "etc"))
    for made in (modules, pillars, top, etc):
        made.mkdir(parents=True)
    for name in ("_modules", "_states", "_utils"):
        (modules / name).symlink_to(PROJECT / name)
    # JSON is YAML, and the fastest that Salt reads: what is measured is not the pillar.
    (pillars / "top.sls").write_text('#!json\n{"base": {"*": ["data"]}}')
    (pillars / "data.sls").write_text("#!json\n" + json.dumps(data))
    (top / "top.sls").write_text('#!json\n{"base": {"*": ["run"]}}')
    (top / "run.sls").write_text("#!json\n" + json.dumps(states))
    config = {
        "id": "dom0",
        "file_client": "local",
        "root_dir": str(folder / "root"),
        "file_roots": {"base": [str(top), str(modules), str(PROJECT / "formulas")]},
        "pillar_roots": {"base": [str(pillars)]},
    }
    (etc / "minion").write_text(json.dumps(config))
    return etc


def highstate(etc: Path, socket: str, lines: int) -> float:
    """Run one highstate that must change nothing and report *lines*; return its seconds."""
    command = [sys.executable, "-c", RUN, "-c", str(etc), "--local", "--out=json", "state.highstate"]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env={**ENVIRONMENT, "XENSTORED_PATH": socket, "VMINTERFACE_LOG_DIR": str(Path(socket).parent / "history")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stdout.decode())
    report = json.loads(done.stdout)["local"]
    # One for each VM, and of the formula one more for each of its states.
    assert lines <= len(report) <= lines + 5, f"{len(report)} lines, expected {lines}"
    assert all(line["result"] is True and not line["changes"] for line in report.values()), report
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="A highstate without changes, beside states that do nothing.")
    parser.add_argument("--vms", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    data = pillar(arguments.vms)
    settings = parse_pillar(data)
    nops: dict[str, Any] = {f"nop{n}": {"test.nop": []} for n in range(arguments.vms)}
    all_cpus = sorted(os.sched_getaffinity(0))
    found = []
    with tempfile.TemporaryDirectory() as name, RealXenstored(Path(name, "xen")) as daemon:
        with XenStore.open(daemon.socket_path) as store:
            for domid, one in enumerate(settings, 1):
                daemon.create(domid)
                configure(store, one, domid)
        runs = {
            "push": (minion(Path(name, "push"), data, {"include": ["vminterface"]}), arguments.vms),
            "nop": (minion(Path(name, "nop"), data, nops), arguments.vms),
        }
        for cpus in (all_cpus[:1], all_cpus[:2]):
            os.sched_setaffinity(0, cpus)
            assert daemon.process is not None
            os.sched_setaffinity(daemon.process.pid, cpus)
            seconds: dict[str, list[float]] = {what: [] for what in runs}
            for number in range(arguments.rounds + 1):
                for what, (etc, lines) in runs.items():
                    taken = highstate(etc, daemon.socket_path, lines)
                    # The first round fills caches: modules are copied and compiled.
                    if number:
                        seconds[what].append(taken)
            push, nop = (statistics.median(seconds[what]) for what in ("push", "nop"))
            ratio = statistics.median(p / n for p, n in zip(seconds["push"], seconds["nop"], strict=True))
            found.append(
                Row(f"no-op highstate of {arguments.vms} VMs / as many test.nop, {len(cpus)} CPU", ratio, DESIRED)
            )
            print(
                f"  {len(cpus)} CPU: {arguments.vms} VMs x {KEYS} keys {push:.3f} s,"
                f" {arguments.vms} test.nop {nop:.3f} s"
            )
        os.sched_setaffinity(0, all_cpus)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
