"""What a soak leaves behind: processes, sockets, mounts, locks that are held, temporary files."""

from __future__ import annotations

import ctypes
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from lab.linux.processes import descendants
from tests.soak.measures import children
from vminterface.dom0.push.locks import VMLocks

_PR_SET_CHILD_SUBREAPER = 36
#: How the library names a file that is to take another's place.
_TEMPORARY = re.compile(r"^\..+\.[0-9a-f]{12}$")
#: Folders of a VM that are its own, below its root.
_OWN = ("etc", "run", "rw", "home", "var", "root", "tmp")


def adopt_orphans() -> None:
    """Let this process be the parent of all that its descendants leave behind, so that none of these is missed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def of_processes(known: Sequence[int] = (), seconds: float = 5.0) -> list[str]:
    """Return a line for each descendant of this process that does not end within *seconds*, those *known* apart."""
    end = time.monotonic() + seconds
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = [pid for pid in _own_children() if pid not in known]
        if not left or time.monotonic() > end:
            return [f"process {pid}: {command(pid)}" for child in left for pid in descendants(child)]
        time.sleep(0.05)


def _own_children() -> list[int]:
    return [
        int(child)
        for task in os.listdir("/proc/self/task")
        for child in Path(f"/proc/self/task/{task}/children").read_text().split()
    ]


def in_vm(vm: str, init: int) -> list[str]:
    """Return a line for each process in *vm*, whose first process is *init*, beside that one and its agent's."""
    agents = children(init)
    extra = [
        pid for agent in agents for pid in descendants(agent) if pid not in agents or "soak.agent" not in command(pid)
    ]
    return [f"{vm}: process {pid}: {command(pid)}" for pid in extra]


def of_files(roots: dict[str, Path]) -> list[str]:
    """Return a line for each temporary file of the library's in the VMs whose *roots* these are."""
    return [f"{vm}: file {path}" for vm, root in roots.items() for path in _temporary_below(root)]


def _temporary_below(root: Path) -> Iterator[str]:
    for folder in _OWN:
        for place, _, names in os.walk(root / folder):
            yield from (os.path.join(place, name) for name in names if _TEMPORARY.match(name))


def of_locks(folder: Path, vms: Sequence[str]) -> list[str]:
    """Return a line for each of *vms* whose lock somebody holds."""
    with VMLocks(str(folder)) as locks:
        return [f"{vm}: its lock is held" for vm in vms if not locks.take(vm)]


def of_folder(folder: Path) -> list[str]:
    """Return a line for each socket and mount below *folder* that the kernel still knows."""
    found = []
    for table, what in (("/proc/net/unix", "socket"), ("/proc/self/mountinfo", "mount")):
        found += [f"{what} {line.split()[-1]}" for line in Path(table).read_text().splitlines() if f"{folder}/" in line]
    return found


def of_temporary_folder(folder: Path) -> list[str]:
    """Return a line for each file in *folder*, in which all programs made theirs."""
    return [f"temporary file {path}" for path in sorted(folder.rglob("*"))]


def command(pid: int) -> str:
    """Return the command line of *pid*."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:160]
    except OSError:
        return "has ended"
