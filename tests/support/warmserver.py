"""A Python that has the library loaded, and becomes any program of the library or the lab: see tests/support/warm.py.

    python -m tests.support.warmserver DESCRIPTOR

Each message on the socket DESCRIPTOR brings the three standard streams and says what to be; the reply is a process id.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import platform
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

#: The number of the system call clone(2), by machine.
CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x8000
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_MESSAGE_LIMIT = 1 << 20
#: What programs of the lab load, beside all of the library.
_LAB = ("lab.qubesdb.server", "lab.xenstored.server", "lab.linux.namespaces")


def _load() -> None:
    import vminterface

    for name in _LAB:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(vminterface.__path__, "vminterface."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _fork() -> int:
    """Fork a child of this process's parent, which waits for it as for any process that it has started itself."""
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None)
    python.PyOS_BeforeFork()
    child: int = libc.syscall(CLONE[platform.machine()], _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if child:
        python.PyOS_AfterFork_Parent()
    else:
        python.PyOS_AfterFork_Child()
    return child


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Return what this process is to be, in the child that is to be it; None in the parent, in the end."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _MESSAGE_LIMIT, 3)
        if not message:
            return None
        child = _fork()
        if not child:
            requests.close()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            wanted: dict[str, Any] = json.loads(message)
            return wanted
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(child).encode())


def _isolate() -> None:
    """Enter a user and a network namespace, as ``unshare --map-root-user --net`` does."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_USER | _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _become(wanted: dict[str, Any], own_path: list[str]) -> None:
    """Take on surroundings as those of a new process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if wanted["new_session"]:
        os.setsid()
    if wanted["isolated"]:
        _isolate()
    if wanted["folder"]:
        os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    time.tzset()
    if wanted["handler"]:
        # As python -IS has it, which in such an environment also notes the locale that it takes, by PEP 538.
        sys.path[:] = [path for path in own_path if "site-packages" not in path]
        if not wanted["environment"].keys() & {"LC_ALL", "LC_CTYPE", "LANG"}:
            os.environ["LC_CTYPE"] = "C.UTF-8"
    else:
        if wanted["environment"].get("PYTHONUNBUFFERED"):
            sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        given = wanted["environment"].get("PYTHONPATH", "")
        sys.path[:] = [os.getcwd(), *(given.split(os.pathsep) if given else []), *own_path]
    sys.argv[:] = wanted["words"]


def main() -> None:
    # Ctrl-C is for the tests; they end this process by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    given = os.environ["PYTHONPATH"].split(os.pathsep)
    own_path = [path for path in sys.path[1:] if path not in given]
    _load()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        wanted = _serve(requests)
    if wanted is not None:
        _become(wanted, own_path)
        _run(wanted["words"][0], runpy.run_path if wanted["handler"] else partial(runpy.run_module, alter_sys=True))


def _run(program: str, run: Callable[..., object]) -> None:
    """Run the program by *run*; the interpreter ends threads, runs exit functions and makes an exit status as ever."""
    status: list[int] = []
    # Registered first, it is called last. Taking thousands of loaded modules apart would take longer than the program.
    atexit.register(_leave, status)
    try:
        run(program, run_name="__main__")
        status.append(0)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            status.append((ended.code or 0) & 0xFF)
        raise


def _leave(status: list[int]) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        if status:
            os._exit(status[0])


if __name__ == "__main__":
    main()
