"""How fast a file copy is received and sent, against ``cp`` and ``tar`` doing the same on the same disk in one run.

    PYTHONPATH=_utils:. python benchmarks/qfile.py [--folder DIR] [--rounds N] [--mib N] [--files N]

One large file comes through a pipe and is compared with ``cp`` of it, many small files with ``tar -x`` of the same
tree, which go out again beside ``tar -c``. The rounds alternate, medians are compared, and memory is bounded.
Neither side waits for the disk: what is left to write is written between rounds. Unlike ``cp``, a copy has a sender and
a checksum too: it needs a second processor for these, and libdeflate installed, without which the checksum alone takes
as long as ``cp`` does. CPU time is user's and system's of the one process that receives or unpacks.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.rows import Row, report
from vminterface.dom0.transfer.send import Sender
from vminterface.vm.handlers.files.receive import Terms, serve
from vminterface.wire.crc32 import crc32
from vminterface.wire.qfile import Entry, Packer
from vminterface.wire.qfile_result import Result, check_result

MEMORY_WANTED_MIB = 64


class Taken(NamedTuple):
    """What one run took."""

    seconds: float
    cpu: float
    mib: float = 0.0


TERMS = Terms(sync=False)


def feed(pieces: Sequence[Path], pipe: int) -> None:
    """Put the files *pieces* into *pipe* one after the other, as cheaply as the kernel can."""
    for piece in pieces:
        with piece.open("rb") as file:
            while os.splice(file.fileno(), pipe, 1 << 20):
                pass


def received(pieces: Sequence[Path], crc: int, target: Path) -> Taken:
    """Receive the stream *pieces* into the empty folder *target*."""
    folder = os.open(target, os.O_RDONLY)
    stream, pipe = os.pipe()
    reply, reply_end = os.pipe()
    began = time.perf_counter()
    feeder = os.fork()
    if not feeder:
        os.close(stream)
        feed(pieces, pipe)
        os._exit(0)
    os.close(pipe)
    receiver = os.fork()
    if not receiver:
        os._exit(serve(stream, reply_end, folder, TERMS).exit_status)
    _, status, usage = os.wait4(receiver, 0)
    seconds = time.perf_counter() - began
    for fd in (stream, reply_end, folder):
        os.close(fd)
    os.waitpid(feeder, 0)
    result = Result.parse(os.read(reply, 1 << 16))
    os.close(reply)
    check_result(result, crc)
    if status:
        raise SystemExit(f"the receiver ended with status {status}")
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def timed(command: Sequence[str]) -> Taken:
    """Run *command*, which must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def drained(write: Callable[[int], None]) -> Taken:
    """Let *write* put a stream into a pipe in a process of its own, and read the pipe to its end."""
    reader, pipe = os.pipe()
    began = time.perf_counter()
    writer = os.fork()
    if not writer:
        os.close(reader)
        write(pipe)
        os._exit(0)
    os.close(pipe)
    while os.read(reader, 1 << 20):
        pass
    _, status, usage = os.wait4(writer, 0)
    seconds = time.perf_counter() - began
    os.close(reader)
    if status:
        raise SystemExit(f"the sender ended with status {status}")
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(
    what: str, rounds: int, box: Path, ours: Callable[[], Taken], theirs: Callable[[], Taken]
) -> tuple[list[Taken], list[Taken]]:
    """Run both in turn, *box* empty before each, and print the medians; return what each round took."""
    mine: list[Taken] = []
    other: list[Taken] = []

    def clean() -> None:
        shutil.rmtree(box, ignore_errors=True)
        box.mkdir()
        os.sync()

    # The first round of each warms the caches and is not counted.
    for turn in range(rounds + 1):
        for run, into in ((ours, mine), (theirs, other)):
            clean()
            taken = run()
            if turn:
                into.append(taken)
    clean()
    times = [(median(each, "seconds"), median(each, "cpu")) for each in (mine, other)]
    print(
        f"  {what}: medians of {rounds}: {times[0][0]:.3f} s ({times[0][1]:.3f} s of CPU) against {times[1][0]:.3f} s "
        f"({times[1][1]:.3f} s of CPU); load {os.getloadavg()[0]:.2f}"
    )
    return mine, other


def median(taken: Sequence[Taken], what: str) -> float:
    """Return the median of one field."""
    middle: float = statistics.median(getattr(one, what) for one in taken)
    return middle


def ratio(runs: tuple[list[Taken], list[Taken]], what: str = "seconds") -> float:
    """Return the median of ours over that of theirs."""
    return median(runs[0], what) / median(runs[1], what)


def large(work: Path, mib: int, rounds: int) -> list[Row]:
    """Compare one file of *mib* MiB received with ``cp`` of it."""
    source, head, tail, box = (work / name for name in ("large", "head", "tail", "box"))
    packer = Packer()
    head.write_bytes(packer.entry(Entry(b"large", 0o100644, mib << 20, 0, 0)))
    with source.open("wb") as file:
        for _ in range(mib):
            file.write(packer.data(os.urandom(1 << 20)))
    tail.write_bytes(packer.end())
    what = f"one file of {mib} MiB received"
    runs = compare(
        what,
        rounds,
        box,
        lambda: received([head, source, tail], packer.crc, box),
        lambda: timed(["cp", str(source), str(box / "large")]),
    )
    memory = max(one.mib for one in runs[0])
    return [Row(f"{what} / cp", ratio(runs), 1.25), Row(f"{what}: memory", memory, MEMORY_WANTED_MIB, "MiB")]


def small(work: Path, files: int, rounds: int) -> list[Row]:
    """Compare *files* small files received with ``tar -x``, and sent with ``tar -c``."""
    tree, archive, stream, box = (work / name for name in ("tree", "tree.tar", "tree.qfile", "box"))
    for number in range(files):
        folder = tree / f"{number // 100:04}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number}").write_bytes(os.urandom(1000 + number % 3000))
    subprocess.run(["tar", "-C", str(work), "-cf", str(archive), "tree"], check=True)
    sender = Sender([tree])
    with stream.open("wb") as file:
        file.writelines(sender.chunks())
    got = compare(
        f"{files} small files received, and tar -x",
        rounds,
        box,
        lambda: received([stream], sender.crc, box),
        lambda: timed(["tar", "-C", str(box), "-xf", str(archive)]),
    )
    sent = compare(
        f"{files} small files sent, and tar -c",
        rounds,
        box,
        lambda: drained(lambda pipe: send(tree, pipe)),
        lambda: drained(lambda pipe: tar(work, pipe)),
    )
    return [
        Row(f"{files} small files received / tar -x", ratio(got), 1.0),
        Row(f"{files} small files received / tar -x, CPU", ratio(got, "cpu"), 1.3),
        Row(f"{files} small files received: memory", max(one.mib for one in got[0]), MEMORY_WANTED_MIB, "MiB"),
        Row(f"{files} small files sent / tar -c", ratio(sent), 1.2),
    ]


def send(tree: Path, pipe: int) -> None:
    """Send *tree* as a service call does: pieces go out as they are made."""
    for chunk in Sender([tree]).chunks():
        view = memoryview(chunk)
        while view:
            view = view[os.write(pipe, view) :]


def tar(work: Path, pipe: int) -> None:
    """Pack the same tree."""
    subprocess.run(["tar", "-C", str(work), "-cf", "-", "tree"], stdout=pipe, check=True)


def main() -> int:
    """Run all comparisons; 1 if one of them is not as wanted."""
    parser = argparse.ArgumentParser(description="File copies received, against cp and tar.")
    parser.add_argument("--folder", help="a folder on the disk to use (default: the one for temporary files)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file")
    parser.add_argument("--files", type=int, default=10_000, help="number of the small files")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qfile-benchmark-", dir=given.folder) as work:
        found = [*large(Path(work), given.mib, given.rounds), *small(Path(work), given.files, given.rounds)]
    # Beside writing, the one cost of each byte: for judging the numbers above.
    block = bytes(1 << 20)
    for what, checksum in (("the checksum", crc32), ("zlib's own", zlib.crc32)):
        began = time.perf_counter()
        for _ in range(256):
            checksum(block)
        print(f"  {what} alone: {256 / (time.perf_counter() - began):.0f} MiB/s")
    return report(found)


if __name__ == "__main__":
    raise SystemExit(main())
