"""How fast the QubesDB client reads, and how much longer a push over 200 QubesDBs takes than one over a XenStore.

    PYTHONPATH=_utils:. python benchmarks/qubesdb_client.py [--rounds 25] [--keys 1000] [--vms 200]

The daemons are the lab's, of both kinds, so that the same language serves both. Contestants take turns in every round.
Exit status 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.push_latency import FOLDERS
from benchmarks.rows import Row, report
from lab.xenstored.process import OwnXenstored
from vminterface.channel.qubesdb.pace import RATE, ROOM
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push.push import push
from vminterface.wire.qubesdb import HEADER, Command

#: A batch must be at least so many times as fast as the bare loop.
BATCH_LEAST = 0.7
#: A push that finds nothing to do may take at most so many times as long.
PUSH_MOST = 1.3
_HEADER = HEADER.size


def bare_loop(path: str) -> Callable[[list[str]], list[bytes]]:
    """The least that Python can do: all requests at once, then the answers; nothing checked, no deadline."""
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)

    def read(keys: list[str]) -> list[bytes]:
        pack, unpack = HEADER.pack, HEADER.unpack_from
        values: list[bytes] = []
        buffer, at = b"", 0
        stream.sendall(b"".join([pack(Command.READ, key.encode(), 0) for key in keys]))
        while len(values) < len(keys):
            buffer, at = buffer[at:] + stream.recv(65536), 0
            while len(buffer) - at >= _HEADER:
                end = at + _HEADER + unpack(buffer, at)[2]
                if end > len(buffer):
                    break
                values.append(buffer[at + _HEADER : end])
                at = end
        return values

    return read


def daemons(folder: Path, vms: list[str]) -> subprocess.Popen[bytes]:
    """Start the QubesDB daemons of *vms*, all in one process."""
    process = subprocess.Popen([sys.executable, "-m", "lab.qubesdb", str(folder), *vms], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def timed(work: Callable[[], object], times: int = 1) -> float:
    """Return the seconds that *work* takes, done so many times one after the other."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times


def compare_batch(folder: Path, rounds: int, count: int) -> Row:
    """Print how a pipelined batch does against the bare loop; return the ratio."""
    process = daemons(folder, ["work"])
    try:
        with QubesDB.open("work", 60, folder=str(folder)) as store:
            keys = [f"/qubes-service/service-{n}" for n in range(count)]
            store.batch([Write(key, b"1") for key in keys])
            bare = bare_loop(str(folder / "qubesdb.work.sock"))
            assert bare(keys) == store.read_many(keys)
            pairs = [(timed(lambda: bare(keys)), timed(lambda: store.read_many(keys))) for _ in range(rounds)]
    finally:
        process.terminate()
        process.wait()
    for name, each in zip(("bare loop", "batch"), zip(*pairs, strict=True), strict=True):
        print(f"  {name:16} {count / statistics.median(each):10,.0f} keys/s")
    ratio = statistics.median(a / b for a, b in pairs)
    return Row("QubesDB, batch / bare loop", ratio, BATCH_LEAST, at_least=True)


def compare_c(folder: Path, rounds: int, count: int) -> list[Row]:
    """Print how one key, and a list of many, do against a C program that does no more than ask; return the ratios."""
    program = folder / "qubesdb_serial"
    folder.mkdir(parents=True)
    source = Path(__file__).with_suffix("").with_name("qubesdb_serial.c")
    try:
        subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    except FileNotFoundError:
        print("  without C: no compiler `cc` (Debian package gcc)")
        return []
    process = daemons(folder / "q", ["work"])
    key, top = "/qubes-service/service-0", "/qubes-service"
    words = [str(program), str(folder / "q/qubesdb.work.sock"), key, f"{top}/", "500"]
    taken: list[list[float]] = []
    try:
        with QubesDB.open("work", 60, folder=str(folder / "q")) as store:
            store.batch([Write(f"{top}/service-{n}", b"1") for n in range(count)])
            for _ in range(rounds):
                theirs = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
                read = timed(lambda: store.read(key), 500)
                # While it read, what was written has settled: so the pace of the daemons (channel/qubesdb/pace.py),
                # which the C program does not mind, is no part of one key's time. A sleep would do, but only the C
                # program, which writes more keys in a row, would then be measured with warm caches.
                assert 500 * read > ROOM / RATE
                ours = timed(lambda: store.write(key, b"1"), ROOM), read, timed(lambda: store.list(top), 3)
                taken.append([1e6 * own / float(other) for own, other in zip(ours, theirs, strict=True)])
    finally:
        process.terminate()
        process.wait()
    names = ("one key written", "one key read", f"list of {count} keys")
    return [
        Row(f"QubesDB, {name} / C", statistics.median(each), most)
        for name, each, most in zip(names, zip(*taken, strict=True), (1.2, 1.5, 1.5), strict=True)
    ]


def compare_push(folder: Path, rounds: int, vms: int) -> Row:
    """Print how a push that changes nothing does on both channels; return the ratio."""
    names = [f"vm{n}" for n in range(vms)]
    services = {f"service-{n}": n % 2 == 0 for n in range(20)}
    desired = {
        channel: [VMSettings.parse(vm, {"services": services, "channel": channel, "timeout": 60}) for vm in names]
        for channel in ("xenstore", "qubesdb")
    }
    with ExitStack() as stack:
        xenstored = stack.enter_context(OwnXenstored(folder / "x"))
        process = daemons(folder / "q", names)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        with XenStore.open(xenstored.socket_path) as store:
            for domid, vm in enumerate(names, 1):
                xenstored.create(domid)
                store.write(f"/local/domain/{domid}/name", vm.encode())

        def run(channel: str) -> None:
            with Targets(
                lambda: XenStore.open(xenstored.socket_path, timeout=60), qubesdb_folder=str(folder / "q")
            ) as targets:
                outcomes = push(desired[channel], targets)
                assert all(o.ok and o.running for o in outcomes)

        for channel in desired:
            run(channel)
        pairs = [(timed(lambda: run("xenstore")), timed(lambda: run("qubesdb"))) for _ in range(rounds)]
    for name, each in zip(("XenStore", "QubesDB"), zip(*pairs, strict=True), strict=True):
        print(f"  {name:16} {1000 * statistics.median(each):10,.0f} ms for {vms} VMs x 20 keys, nothing to change")
    ratio = statistics.median(b / a for a, b in pairs)
    return Row(f"no-op push of {vms} VMs, QubesDB / XenStore", ratio, PUSH_MOST)


def main() -> int:
    parser = argparse.ArgumentParser(description="Speed of the QubesDB client, and of pushes over it.")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--vms", type=int, default=200)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}, medians of {arguments.rounds} rounds:")
    with tempfile.TemporaryDirectory() as folder:
        for variable in FOLDERS:
            os.environ[variable] = f"{folder}/{variable}"
        batch = compare_batch(Path(folder) / "b", arguments.rounds, arguments.keys)
        same = compare_push(Path(folder) / "p", arguments.rounds, arguments.vms)
        of_c = compare_c(Path(folder) / "c", arguments.rounds, arguments.keys)
    return report([batch, *of_c, same])


if __name__ == "__main__":
    sys.exit(main())
