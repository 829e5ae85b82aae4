"""What this project costs each ``salt-call`` of a host, and what one function of its modules costs.

    PYTHONPATH=_utils:. python benchmarks/salt_call.py [--rounds N]

Three comparisons, each of whole processes that take turns, in CPU time of the process (user and system) and of its
children. Calls of Salt are compared in pairs, of one round each, the middle difference of all rounds; the short ones by
the least that each took.

* ``test.ping`` on a masterless minion that has this project installed and synced, less the same on one that has not;
* ``qubes_vm.get work`` less ``test.ping``, both with the files synced;
* ``vminterface get work`` over ``python3 -c pass``.

All run where ``/etc/qubes-release`` says dom0, in a mount namespace of their own; the store is the real xenstored.
Exit status 1 where one of them misses its target.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.rows import Row, report
from lab.paths import PROJECT
from tests.support.dom0 import Dom0

RUN = "from salt.scripts import salt_call; salt_call()"
#: Milliseconds that the files may add to every call, and one function of theirs to that.
PING, GET = 10.0, 15.0
#: How many starts of an interpreter with nothing to do the command may last.
COMMAND = 4.0
#: As in a dom0, where Python keeps what it has compiled.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def in_dom0(folder: Path) -> list[str]:
    """Make, in *folder*, what a Qubes dom0 has in ``/etc``; return the words that start a program with it."""
    etc = folder / "etc"
    subprocess.run(["cp", "-a", "/etc", str(etc)], check=True)
    (etc / "qubes-release").write_text("Qubes release 4.3 (R4.3)\n")
    become_root = ["--user", "--map-root-user"] if os.getuid() else []
    return ["unshare", *become_root, "--mount", "sh", "-c", f'mount --bind {etc} /etc && exec "$@"', "sh"]


def minion(folder: Path, *, synced: bool) -> list[str]:
    """Make a masterless minion's configuration in *folder*; return the words of a call, up to its function."""
    files = folder / "files"
    files.mkdir(parents=True)
    if synced:
        places = {"SALT": files, "LIBRARY": folder / "library", "PILLAR": folder / "pillar", "SHARE": folder / "share"}
        settings = {**os.environ, **{name: str(place) for name, place in places.items()}, "TOPS": "topd"}
        subprocess.run([PROJECT / "tools/install"], env=settings, check=True, stdout=subprocess.DEVNULL)
    config = {
        "id": "dom0",
        "file_client": "local",
        "root_dir": str(folder / "root"),
        "file_roots": {"base": [str(files)]},
        "pillar_roots": {"base": [str(folder / "no-pillar")]},
    }
    (folder / "minion").write_text(json.dumps(config))
    return [sys.executable, "-c", RUN, "-c", str(folder), "--local", "--out=json", "--log-level=critical"]


def cpu(command: list[str], environment: Mapping[str, str]) -> float:
    """Run *command*, which must succeed; return the milliseconds of CPU that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> int:
    parser = argparse.ArgumentParser(description="What the project costs a host's salt-call.")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Dom0(Path(name, "xen")) as host:
        host.start_vm("work")
        own = {"XENSTORED_PATH": host.path, "VMINTERFACE_LOG_DIR": str(Path(host.path).parent / "history")}
        environment = {**ENVIRONMENT, **own, "PYTHONPATH": str(PROJECT / "_utils")}
        without_library = {name: text for name, text in environment.items() if name != "PYTHONPATH"}
        bare, synced = (minion(Path(name, kind), synced=kind == "synced") for kind in ("bare", "synced"))
        cpu([*synced, "saltutil.sync_all"], without_library)
        dom0 = in_dom0(Path(name))
        commands = {
            "without": ([*bare, "test.ping"], without_library),
            "with": ([*synced, "test.ping"], without_library),
            "get": ([*synced, "qubes_vm.get", "work"], without_library),
            "pass": ([sys.executable, "-c", "pass"], without_library),
            "command": ([sys.executable, "-m", "vminterface", "get", "work"], environment),
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.rounds + 1):
            for name, (command, its_environment) in commands.items():
                milliseconds = cpu([*dom0, *command], its_environment)
                # The first round fills caches, Python's own of compiled files among them.
                if number:
                    taken[name].append(milliseconds)
    for name, each in taken.items():
        print(f"  {name:8} {min(each):7.1f} ms of CPU at least, {statistics.median(each):7.1f} in the middle")
    return report(
        [
            Row("salt-call test.ping with the files, less without", more(taken["with"], taken["without"]), PING, "ms"),
            Row("salt-call qubes_vm.get work, less test.ping", more(taken["get"], taken["with"]), GET, "ms"),
            Row("vminterface get work / python3 -c pass", min(taken["command"]) / min(taken["pass"]), COMMAND),
        ]
    )


def more(one: Sequence[float], other: Sequence[float]) -> float:
    """Return what *one* took more than *other* in the same round, in the middle of all rounds.

    The least of each may be of different minutes, in which a machine that others use too is not as fast.
    """
    return statistics.median(mine - its for mine, its in zip(one, other, strict=True))


if __name__ == "__main__":
    sys.exit(main())
