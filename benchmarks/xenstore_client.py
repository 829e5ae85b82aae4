"""How fast the XenStore client reads, side by side with what else there is, on the real xenstored.

    PYTHONPATH=_utils:. python benchmarks/xenstore_client.py [--rounds 15] [--keys 1000]

Contestants take turns in every round, once with client and daemon on one CPU and once on two
(there each serial call pays for waking the other CPU up, whoever makes it). A batch that comes from memory and whose
answers nobody looks at tells how fast the daemon alone is. Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.rows import Row, report
from lab.xenstored.fakexen import RealXenstored, missing
from vminterface.channel.xenstore.store import XenStore
from vminterface.wire.xenstore import HEADER, Op

#: Reads every path that it is given.
Contestant = Callable[[list[str]], object]

#: Ours, the other, ours must be at least so many times as fast.
TARGETS = [
    ("serial", "bare loop", 0.8),
    ("batch", "pyxs", 5.0),
    ("batch", "process per key", 100.0),
    ("batch", "C binding", 1.0),
]
#: A process per key is so slow that a few keys tell.
FEWER = {"process per key": 40}


def bare_loop(path: str) -> Contestant:
    """The least that Python can do: one request, one answer, nothing checked, no deadline."""
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)

    def read(keys: list[str]) -> None:
        for number, key in enumerate(keys):
            payload = key.encode() + b"\0"
            stream.sendall(HEADER.pack(Op.READ, number, 0, len(payload)) + payload)
            length = HEADER.unpack(stream.recv(16, socket.MSG_WAITALL))[3]
            stream.recv(length, socket.MSG_WAITALL)

    return read


def daemon_alone(path: str, keys: list[str]) -> Contestant:
    """As little as a client can do: requests that are ready, answers that are not looked at. Each has one byte."""
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    frames = b"".join(HEADER.pack(Op.READ, 0, 0, len(key) + 1) + key.encode() + b"\0" for key in keys)
    expected = len(keys) * (HEADER.size + 1)

    def read(keys: list[str]) -> None:
        stream.sendall(frames)
        left = expected
        while left:
            os.sched_yield()
            left -= len(stream.recv(65536))

    return read


def pyxs_client(path: str) -> Contestant:
    import pyxs

    client = pyxs.Client(unix_socket_path=path)
    client.connect()
    return lambda keys: [client.read(key.encode()) for key in keys]


def c_binding(path: str) -> Contestant:
    sys.path += glob.glob("/usr/lib/xen-*/lib/python")
    from xen.lowlevel import xs

    os.environ["XENSTORED_PATH"] = path
    handle = xs.xs()
    return lambda keys: [handle.read("", key) for key in keys]


def process_per_key(path: str) -> Contestant:
    program = shutil.which("xenstore-read")
    if program is None:
        raise ImportError("no program xenstore-read (Debian package xenstore-utils)")
    environment = {**os.environ, "XENSTORED_PATH": path}
    return lambda keys: [
        subprocess.run([program, key], env=environment, stdout=subprocess.DEVNULL, check=True) for key in keys
    ]


def contestants(path: str, store: XenStore, keys: list[str]) -> dict[str, Contestant]:
    """Return all that can run here; say what cannot, and why."""
    found: dict[str, Contestant] = {
        "serial": lambda keys: [store.read(key) for key in keys],
        "batch": lambda keys: store.read_many(keys, timeout=60),
        "bare loop": bare_loop(path),
        "daemon alone": daemon_alone(path, keys),
    }
    others = {"pyxs": pyxs_client, "C binding": c_binding, "process per key": process_per_key}
    for name, make in others.items():
        try:
            found[name] = make(path)
        except ImportError as error:
            hint = " (pip install pyxs)" if name == "pyxs" else " (Debian package xen-utils-4.17)"
            print(f"without {name}: {error}{hint if 'module' in str(error) else ''}")
    return found


def measure(runners: dict[str, Contestant], keys: list[str], rounds: int) -> dict[str, list[float]]:
    """Return each contestant's keys a second, round by round."""
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, read in runners.items():
            some = keys[: FEWER.get(name, len(keys))]
            started = time.perf_counter()
            read(some)
            speeds[name].append(len(some) / (time.perf_counter() - started))
    return speeds


def compared(placement: str, speeds: dict[str, list[float]]) -> list[Row]:
    """Print medians; return the medians of each round's ratios: what disturbs a round disturbs both."""
    found = []
    for name, each in speeds.items():
        print(f"  {name:16} {statistics.median(each):10,.0f} keys/s")
    for mine, other, least in TARGETS:
        if other in speeds:
            ratio = statistics.median(a / b for a, b in zip(speeds[mine], speeds[other], strict=True))
            found.append(Row(f"XenStore, {mine} / {other}, {placement}", ratio, least, at_least=True))
    if "process per key" in speeds:
        most = statistics.median(a / b for a, b in zip(speeds["daemon alone"], speeds["process per key"], strict=True))
        print(f"  no client can reach more than {most:.0f} times a process per key here")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of the XenStore client against its peers.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--keys", type=int, default=1000)
    arguments = parser.parse_args()
    if missing():
        print(missing(), file=sys.stderr)
        return 2
    cpus = sorted(os.sched_getaffinity(0))
    placements = {"one CPU": (cpus[0], cpus[0])}
    if len(cpus) > 1:
        placements["two CPUs"] = (cpus[0], cpus[1])
    found = []
    with tempfile.TemporaryDirectory() as folder, RealXenstored(Path(folder) / "xen") as daemon:
        assert daemon.process is not None
        with XenStore.open(daemon.socket_path) as store:
            keys = [f"/local/domain/1/qubes-service/service-{n}" for n in range(arguments.keys)]
            for key in keys:
                store.write(key, b"1")
            runners = contestants(daemon.socket_path, store, keys)
            for placement, (ours, its) in placements.items():
                os.sched_setaffinity(0, {ours})
                os.sched_setaffinity(daemon.process.pid, {its})
                speeds = measure(runners, keys, arguments.rounds)
                print(f"\n{placement}, load {os.getloadavg()[0]:.2f}, medians of {arguments.rounds} rounds:")
                found += compared(placement, speeds)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())
