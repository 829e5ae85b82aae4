"""How much memory service calls, and looks at all VMs, take in dom0 while the VMs send the most that is taken of them.

    PYTHONPATH=_utils:. python benchmarks/dom0_memory.py [--only NAME] [--bound 512]

Each call is made by a process of its own, whose largest resident size is compared with the bound, MiB; most of the
calls end in an error, as they should. Exit status 1 if one takes more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rows import Row, report
from vminterface.channel.qrexec.client import Qrexec
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.ensure.files import file_sent
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.reports import devices
from vminterface.dom0.results import servicelist
from vminterface.dom0.services import appmenus, backup, commands, files, images
from vminterface.errors import VMInterfaceError

#: MiB that no call may take.
BOUND = 512

_LISTED = """
import sys
out = sys.stdout.buffer
out.write(b"\\0")
for number in range({entries}):
    out.write(b"d" + b"QubesIncoming/dom0/note/%d" % number + b"x" * {length} + b"\\0\\0")
"""
_PICTURE = """
import os, sys
sys.stdout.buffer.write(b"8192 5120\\n")
for _ in range(160):
    sys.stdout.buffer.write(os.urandom(1 << 20))
"""
_APPLICATIONS = """
import sys
for number in range({lines}):
    print(f"app{{number}}.desktop:Name=" + "n" * {length})
"""
_ARCHIVE = """
import sys
from vminterface.wire.qfile import Entry, Packer
sys.stdin.readline(); sys.stdin.readline()
packer, out = Packer(), sys.stdout.buffer
part = b"/" + b"n" * 200
deep = b"top"
out.write(packer.entry(Entry(deep, 0o40755, 0, 0, 0)))
for _ in range({depth}):
    deep += part
    out.write(packer.entry(Entry(deep, 0o40755, 0, 0, 0)))
for number in range({entries}):
    out.write(packer.entry(Entry(deep + b"/%0200d" % number, {mode}, 0, 0, 0)))
"""


def _call_lines(qrexec: Qrexec, folder: Path) -> None:
    servicelist.call(qrexec, "work", "example.Lines", limit=servicelist.LONGEST_OUTPUT)


def _picture(qrexec: Qrexec, folder: Path) -> None:
    images.save(images.picture(qrexec, "work", "/picture"), folder / "picture.png")


@contextlib.contextmanager
def _vms(folder: Path, keys: dict[str, bytes], others: int = 0) -> Iterator[Targets]:
    """VMs of which each has *keys* in its QubesDB, the lab's, and so many *others* that are none of the product's."""
    names = [f"vm{number}" for number in range(_VMS)]
    words = [sys.executable, "-m", "lab.qubesdb", str(folder), *names]
    daemons = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert daemons.stdout is not None
        daemons.stdout.readline()
        writes = [Write(path, value) for path, value in keys.items()]
        writes += [Write(f"/own/{number}", b"v" * 3000) for number in range(others)]
        for name in names:
            with QubesDB.open(name, 300, folder=str(folder)) as store:
                assert not any(store.batch(writes))
        with Targets(lambda: XenStore.open(str(folder / "none")), qubesdb_folder=str(folder)) as targets:
            yield targets
    finally:
        daemons.terminate()
        daemons.wait()


def _fields(folder: Path, count: int, others: int) -> None:
    with _vms(folder, {f"/vm-config/c{number}": b"v" * 100 for number in range(count)}, others) as targets:
        _, errors = observed.observe(targets, targets.running())
    for error in errors.values():
        raise error


def _reports(folder: Path) -> None:
    device = {"desc": b"x" * 255, "size": b"1", "mode": b"w"}
    base = "/qubes-block-devices"
    keys = {f"{base}/d{number}/{key}": text for number in range(1000) for key, text in device.items()}
    with _vms(folder, keys) as targets:
        devices.read(targets)


def _note(folder: Path) -> str:
    (folder / "note").write_text("ours")
    return str(folder / "note")


#: VMs that dom0 looks at, all at once.
_VMS = 16

#: What is called, and the Python program that answers in the VM.
CALLS: dict[str, tuple[Callable[[Qrexec, Path], object], str]] = {
    "file_sent, short names": (lambda q, f: file_sent(q, "work", _note(f)), _LISTED.format(entries=1 << 20, length=0)),
    "file_sent, long names": (lambda q, f: file_sent(q, "work", _note(f)), _LISTED.format(entries=1 << 18, length=222)),
    "picture": (_picture, _PICTURE),
    "applications, short": (lambda q, _: appmenus.get(q, "work"), _APPLICATIONS.format(lines=99_998, length=1)),
    "applications, long": (lambda q, _: appmenus.get(q, "work"), _APPLICATIONS.format(lines=99_998, length=990)),
    "command": (lambda q, _: commands.execute(q, "work", ["cat"]), "import os\nwhile True: os.write(1, bytes(65536))"),
    "call, short lines": (_call_lines, f"print('ab\\n' * {(1 << 23) // 3}, end='')"),
    "call, escapes": (
        _call_lines,
        f"import os\nfor _ in range({(1 << 23) // 1000}): os.write(1, b'\\x80' * 999 + b'\\n')",
    ),
    "restore, files": (
        lambda q, f: backup.restore(q, "work", "/backup", f / "restored"),
        _ARCHIVE.format(depth=18, entries=65_000, mode=0o100644),
    ),
    "restore, folders": (
        lambda q, f: backup.restore(q, "work", "/backup", f / "restored"),
        _ARCHIVE.format(depth=18, entries=65_000, mode=0o40755),
    ),
    "open_in_vm": (
        lambda q, f: files.open_in_vm(q, "work", _note(f)),
        "import os, sys\nsys.stdin.buffer.read()\nfor _ in range(8192): os.write(1, bytes(65536))",
    ),
    "filecopy": (lambda q, f: files.send(q, "work", [_note(f)]), "import os\nwhile True: os.write(1, bytes(65536))"),
    "fields of 16 VMs": (lambda _, f: _fields(f, 2000, 4000), ""),
    "too many fields": (lambda _, f: _fields(f, 6000, 0), ""),
    "reports of 16 VMs": (lambda _, f: _reports(f), ""),
}  # fmt: skip


def one(name: str) -> int:
    """Make a call, and print its outcome and this process's largest size in MiB."""
    call, reply = CALLS[name]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "answer.py").write_text(reply)
        program = folder / "qrexec-client"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} "{folder}/answer.py"\n')
        program.chmod(0o755)
        outcome = "done"
        try:
            call(Qrexec(str(program)), folder)
        except VMInterfaceError as error:
            outcome = str(error)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, outcome)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of dom0's service calls.")
    parser.add_argument("--bound", type=int, default=BOUND, help="MiB")
    parser.add_argument("--only", choices=CALLS)
    parser.add_argument("--one", choices=CALLS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return one(arguments.one)
    print(f"{'call':<24} {'MiB':>5} {'of the bound':>13} {'s':>6}  outcome")
    worst = 0
    for name in [arguments.only] if arguments.only else CALLS:
        started = time.monotonic()
        words = [sys.executable, __file__, "--one", name]
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ)
        size, _, outcome = done.stdout.strip().partition(" ")
        seconds = time.monotonic() - started
        print(f"{name:<24} {size:>5} {int(size) / arguments.bound:>13.2f} {seconds:>6.1f}  {outcome[:70]}", flush=True)
        worst = max(worst, int(size))
    print(f"at most {worst} MiB, the bound is {arguments.bound} MiB")
    return report([Row("dom0's memory in a call or a look at VMs that send the most", worst, arguments.bound, "MiB")])


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
