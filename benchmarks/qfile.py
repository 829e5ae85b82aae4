"""How fast a file copy is received, against ``cp`` and ``tar`` doing the same on the same disk in the same run.

    python benchmarks/qfile.py [--folder DIR] [--rounds N] [--mib N] [--files N]

One large file comes through a pipe and is compared with ``cp`` of it (wanted: 0.8 of its rate or more), many small
files with ``tar -x`` of the same tree (0.5 or more); the receiver's memory must stay below 64 MiB. The rounds
alternate, medians are compared. Neither side waits for the disk: what is left to write is written between rounds.
Unlike ``cp``, a copy has a sender and a checksum too: it needs a second processor for these, and libdeflate installed,
without which the checksum alone takes as long as ``cp`` does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "_utils"))

from vminterface.dom0.filesend import Sender
from vminterface.vm.filecopy import Terms, serve
from vminterface.wire.crc32 import crc32
from vminterface.wire.qfile import Entry, Packer
from vminterface.wire.qfile_result import Result, check_result

MEMORY_WANTED_MIB = 64
TERMS = Terms(sync=False)


def feed(pieces: Sequence[Path], pipe: int) -> None:
    """Put the files *pieces* into *pipe* one after the other, as cheaply as the kernel can."""
    for piece in pieces:
        with piece.open("rb") as file:
            while os.splice(file.fileno(), pipe, 1 << 20):
                pass


def received(pieces: Sequence[Path], crc: int, target: Path) -> tuple[float, float]:
    """Receive the stream *pieces* into the empty folder *target*; return the seconds and the MiB of memory."""
    folder = os.open(target, os.O_RDONLY)
    stream, pipe = os.pipe()
    answer, answer_end = os.pipe()
    began = time.perf_counter()
    feeder = os.fork()
    if not feeder:
        os.close(stream)
        feed(pieces, pipe)
        os._exit(0)
    os.close(pipe)
    receiver = os.fork()
    if not receiver:
        os._exit(serve(stream, answer_end, folder, TERMS).exit_status)
    _, status, usage = os.wait4(receiver, 0)
    seconds = time.perf_counter() - began
    for fd in (stream, answer_end, folder):
        os.close(fd)
    os.waitpid(feeder, 0)
    result = Result.parse(os.read(answer, 1 << 16))
    os.close(answer)
    check_result(result, crc)
    if status:
        raise SystemExit(f"the receiver ended with status {status}")
    return seconds, usage.ru_maxrss / 1024


def timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def compare(
    what: str,
    wanted: float,
    rounds: int,
    box: Path,
    ours: Callable[[], tuple[float, float]],
    theirs: Callable[[], float],
) -> bool:
    """Run both in turn, print the ratio of the medians, and say whether it is as wanted."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    memory = 0.0

    def clean() -> None:
        shutil.rmtree(box, ignore_errors=True)
        box.mkdir()
        os.sync()

    # The first round of each warms the caches and is not counted.
    for turn in range(rounds + 1):
        clean()
        seconds, used = ours()
        clean()
        other = theirs()
        memory = max(memory, used)
        if turn:
            times["ours"].append(seconds)
            times["theirs"].append(other)
    clean()
    mine, other = statistics.median(times["ours"]), statistics.median(times["theirs"])
    ratio = other / mine
    good = ratio >= wanted and memory < MEMORY_WANTED_MIB
    print(
        f"{what}: {ratio:.2f} of its rate (wanted {wanted}); medians of {rounds}: {mine:.3f} s against {other:.3f} s, "
        f"best {min(times['ours']):.3f} s against {min(times['theirs']):.3f} s; memory {memory:.0f} MiB "
        f"(wanted < {MEMORY_WANTED_MIB}); load {os.getloadavg()[0]:.2f}{'' if good else '  MISSED'}"
    )
    return good


def large(work: Path, mib: int, rounds: int) -> bool:
    source, head, tail, box = (work / name for name in ("large", "head", "tail", "box"))
    packer = Packer()
    head.write_bytes(packer.entry(Entry(b"large", 0o100644, mib << 20, 0, 0)))
    with source.open("wb") as file:
        for _ in range(mib):
            file.write(packer.data(os.urandom(1 << 20)))
    tail.write_bytes(packer.end())
    return compare(
        f"one file of {mib} MiB against cp",
        0.8,
        rounds,
        box,
        lambda: received([head, source, tail], packer.crc, box),
        lambda: timed(["cp", str(source), str(box / "large")]),
    )


def small(work: Path, files: int, rounds: int) -> bool:
    tree, archive, stream, box = (work / name for name in ("tree", "tree.tar", "tree.qfile", "box"))
    for number in range(files):
        folder = tree / f"{number // 100:04}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number}").write_bytes(os.urandom(1000 + number % 3000))
    subprocess.run(["tar", "-C", str(work), "-cf", str(archive), "tree"], check=True)
    sender = Sender([tree])
    with stream.open("wb") as file:
        file.writelines(sender.chunks())
    return compare(
        f"{files} small files against tar -x",
        0.5,
        rounds,
        box,
        lambda: received([stream], sender.crc, box),
        lambda: timed(["tar", "-C", str(box), "-xf", str(archive)]),
    )


def main() -> int:
    """Run both comparisons; 1 if one of them is not as wanted."""
    parser = argparse.ArgumentParser(description="File copies received, against cp and tar.")
    parser.add_argument("--folder", help="a folder on the disk to use (default: the one for temporary files)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file")
    parser.add_argument("--files", type=int, default=10_000, help="number of the small files")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="qfile-benchmark-", dir=given.folder) as work:
        good = [large(Path(work), given.mib, given.rounds), small(Path(work), given.files, given.rounds)]
    # Beside writing, the one cost of each byte: for judging the numbers above.
    block = bytes(1 << 20)
    for what, checksum in (("the checksum", crc32), ("zlib's own", zlib.crc32)):
        began = time.perf_counter()
        for _ in range(256):
            checksum(block)
        print(f"{what} alone: {256 / (time.perf_counter() - began):.0f} MiB/s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
