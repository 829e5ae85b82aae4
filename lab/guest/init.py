"""The first process of a VM: mounts its file system, waits for its network, runs the agent, reaps what is left over.

Told by the supervisor on standard input (``go``, ``agent``: kill the agent and start another, ``stop``; its end is
``stop`` too), answers there on standard output: ``ready PID``, ``agent PID``, ``exited STATUS``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lab.guest.vmroot import below_usr_local, shared_paths
from lab.linux import mounts

STOP_SECONDS = 3.0
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def main(root: str, name: str, xenbus: str, command: list[str]) -> int:
    """Be process 1 of the VM *name* in *root*, with the store at *xenbus*, and *command* as its agent."""
    pid = int(os.readlink("/proc/self"))
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    enter(Path(root), name, xenbus)
    notify(f"ready {pid}")
    if sys.stdin.readline().strip() != "go":
        return 0
    agent = _started(command)
    alive, stop_at = True, float("inf")
    while True:
        timeout = max(0.0, stop_at - time.monotonic()) if stop_at != float("inf") else None
        sources: list[socket.socket | int] = [woken] if stop_at != float("inf") else [woken, 0]
        readable, _, _ = select.select(sources, [], [], timeout)
        if woken in readable:
            woken.recv(4096)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
                if ended[0] == agent.pid:
                    alive = False
                    notify(f"exited {os.waitstatus_to_exitcode(ended[1])}")
        words = os.read(0, 64).split() or [b"stop"] if 0 in readable else []
        if b"agent" in words and b"stop" not in words:
            if alive:
                agent.kill()
                agent.wait()
            agent, alive = _started(command), True
        if b"stop" in words:
            stop_at = time.monotonic() + STOP_SECONDS
            if alive:
                os.kill(agent.pid, signal.SIGTERM)
        if stop_at != float("inf") and (not alive or time.monotonic() >= stop_at):
            return 0  # the kernel ends what else runs in this process namespace


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    """Start the agent, and tell the supervisor."""
    agent = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    notify(f"agent {agent.pid}")
    return agent


def enter(root: Path, name: str, xenbus: str) -> None:
    """Make *root* this process's file system and *name* its host name."""
    mounts.mount("none", "/", None, mounts.REC | mounts.PRIVATE)
    for shared in shared_paths():
        mounts.bind(str(shared), str(root / shared.relative_to("/")), read_only=True)
    mounts.bind(str(root / "rw/usrlocal"), str(root / "usr/local"))
    for needed in below_usr_local():
        place = root / needed.relative_to("/")
        place.mkdir(parents=True, exist_ok=True)
        mounts.bind(str(needed), str(place), read_only=True)
    dev = root / "dev"
    mounts.mount("dev", str(dev), "tmpfs", mounts.NOSUID, "mode=0755,size=16m")
    for device in _DEVICES:
        (dev / device).touch()
        mounts.bind(f"/dev/{device}", str(dev / device))
    for folder in ("shm", "pts", "xen"):
        (dev / folder).mkdir()
    with contextlib.suppress(OSError):  # without terminals of its own a VM still works
        mounts.mount("devpts", str(dev / "pts"), "devpts", mounts.NOSUID | mounts.NOEXEC, "newinstance,ptmxmode=0666")
        (dev / "ptmx").symlink_to("pts/ptmx")
    for link, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (dev / link).symlink_to(target)
    (dev / "xen" / "xenbus").touch()
    mounts.bind(xenbus, str(dev / "xen" / "xenbus"))
    try:
        mounts.mount("proc", str(root / "proc"), "proc", mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
        for part in ("sys/kernel", "sys/vm", "sys/fs", "sysrq-trigger"):
            if (root / "proc" / part).exists():
                mounts.bind(str(root / "proc" / part), str(root / "proc" / part), read_only=True)
    except PermissionError:  # inside a container whose own /proc is partly hidden
        mounts.bind("/proc", str(root / "proc"), read_only=True)
    flags = mounts.RDONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
    with contextlib.suppress(OSError):  # only who owns the network namespace may
        mounts.mount("sysfs", str(root / "sys"), "sysfs", flags)
    socket.sethostname(name)
    os.chroot(root)
    os.chdir("/root")


def notify(line: str) -> None:
    """Tell the supervisor."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
