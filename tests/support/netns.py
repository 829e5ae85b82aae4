"""Network namespaces as VMs, joined by virtual Ethernet: nothing that is sent in them leaves them.

All of them belong to one user namespace, so that neither root nor anything of this machine's own network is needed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.stores import need
from vminterface.errors import ProgramFailed
from vminterface.vm.machine.machine import Machine, network_of

#: Seconds for whatever should take a small part of one.
SOON = 30.0
_CLONE_NEWNET = 0x40000000
_HOLD = ["sh", "-c", "echo ready; exec sleep 300"]


class InNamespace(Machine):
    """A machine whose files are below a folder and whose programs see the network of process *pid*."""

    def __init__(self, root: Path, pid: int) -> None:
        super().__init__(str(root))
        self.pid = pid
        self.hidden: set[str] = set()
        #: Asked for each program with its words: True lets it fail, without its work or (late) with it done.
        self.fails: Callable[[Sequence[str]], bool] = lambda argv: False
        self.late = False
        #: Whether the kernel is spoken to by pyroute2, which takes root, or by programs.
        self.by_pyroute2 = False

    @property
    def has_own_network(self) -> bool:
        """Whether the programs that this machine runs see another network than the tests themselves."""
        own = network_of(self.pid)
        return own is not None and own != network_of("self")

    def inside(self, argv: Sequence[str]) -> list[str]:
        """*argv* as a process in this namespace."""
        return ["nsenter", "-t", str(self.pid), "-U", "-n", "--preserve-credentials", "--", *argv]

    def which(self, program: str) -> str | None:
        return None if program in self.hidden else super().which(program)

    def run(self, argv: Sequence[str], *, input: bytes = b"", **options: Any) -> bytes:
        fails = self.fails(argv)
        if not fails or self.late:
            output = super().run(argv if argv[0] in self.hidden else self.inside(argv), input=input, **options)
        if fails:
            raise ProgramFailed(f"{argv[0]} ended with status 1: the test wants it so")
        return output

    def netlink(self) -> AbstractContextManager[Any]:
        if not self.by_pyroute2:
            return nullcontext()
        return self._netlink()

    @contextmanager
    def _netlink(self) -> Iterator[Any]:
        """Open an IPRoute of this namespace, in which this thread is meanwhile.

        Not by its own netns=…: that forks, and a child that is late, as on a busy machine, comes back as a second run
        of the tests.
        """
        from pyroute2 import IPRoute

        with open("/proc/thread-self/ns/net", "rb") as own, open(f"/proc/{self.pid}/ns/net", "rb") as other:
            _enter_network(other.fileno())
            try:
                with IPRoute() as link:
                    yield link
            finally:
                _enter_network(own.fileno())

    def ip(self, *words: str) -> list[dict[str, Any]]:
        return [entry for entry in json.loads(self.run(["ip", "-j", *words]) or b"[]") if entry]

    def addresses(self, interface: str = "eth0") -> set[str]:
        [entry] = self.ip("address", "show", "dev", interface)
        return {f"{a['local']}/{a['prefixlen']}" for a in entry["addr_info"] if a["scope"] != "link"}

    def routes(self, *family: str) -> set[tuple[str, str, str]]:
        return {
            (r["dst"], r.get("gateway", ""), r["dev"])
            for r in self.ip(*family, "route", "show")
            if r.get("protocol") != "kernel"
        }

    def neighbours(self, interface: str = "eth0") -> set[tuple[str, str]]:
        shown = self.ip("neighbour", "show", "dev", interface, "nud", "permanent")
        return {(n["dst"], n["lladdr"]) for n in shown}

    def group(self, interface: str = "eth0") -> str:
        return str(self.ip("-N", "link", "show", "dev", interface)[0]["group"])

    def is_up(self, interface: str = "eth0") -> bool:
        return "UP" in self.ip("link", "show", "dev", interface)[0]["flags"]

    def python(self, code: str, *arguments: str) -> str:
        """What the Python program *code* prints in this namespace."""
        return self.run([sys.executable, "-I", "-c", code, *arguments], timeout=SOON).decode().strip()

    def everything(self) -> tuple[Any, ...]:
        return (
            self.addresses(), self.routes("-4"), self.routes("-6"), self.neighbours(), self.is_up(),
            self.read_text("/etc/resolv.conf"),
        )  # fmt: skip


def _enter_network(namespace: int) -> None:
    """Let this thread see the network *namespace*, a descriptor; os.setns is of Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Network:
    """Some namespaces below one user namespace; at the end every process in them is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self._first: InNamespace | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait(SOON)
            if process.stdout is not None:
                process.stdout.close()

    def add(self, name: str) -> InNamespace:
        """A new namespace; its machine has the files below a folder called *name*."""
        command = ["unshare", "-rn", *_HOLD] if self._first is None else self._first.inside(["unshare", "-n", *_HOLD])
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            need("this machine lets nobody make network namespaces (unshare -rn)")
        (self.folder / name / "etc").mkdir(parents=True)
        machine = InNamespace(self.folder / name, process.pid)
        self._first = self._first or machine
        machine.run(["ip", "link", "set", "lo", "up"])
        return machine

    def join(self, one: InNamespace, here: str, other: InNamespace, there: str, mac: str = "", end: str = "") -> None:
        """Lay a cable from interface *here* of *one*, with address *end*, to *there* of *other*, with address *mac*."""
        one.run(
            ["ip", "link", "add", here, *(["address", end] if end else []), "type", "veth", "peer", "name", there,
             *(["address", mac] if mac else []), "netns", str(other.pid)],
        )  # fmt: skip

    def start(self, machine: InNamespace, argv: Sequence[str], log: Path) -> subprocess.Popen[str]:
        """Start a program that goes on in *machine* until the end, or until it is ended with :meth:`stop`."""
        with log.open("wb") as output:
            process = subprocess.Popen(machine.inside(argv), stdout=output, stderr=output, text=True)
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait(SOON)
        self._processes.remove(process)


@contextmanager
def namespace(folder: Path) -> Iterator[InNamespace]:
    """One VM with an interface ``eth0`` whose other end, ``backend``, is up."""
    with Network(folder.parent) as network:
        machine = network.add(folder.name)
        machine.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "backend"])
        machine.run(["ip", "link", "set", "backend", "up"])
        yield machine


def until(condition: Callable[[], bool], seconds: float = SOON) -> None:
    """Wait until *condition* holds, or fail."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.02)


def need_pyroute2() -> None:
    """Skip the test where pyroute2 cannot be used on a machine of these namespaces."""
    if importlib.util.find_spec("pyroute2") is None:
        need("pyroute2 is not installed here")
    if os.geteuid() != 0:
        need("only root may open the netlink of a namespace that it is not in")
