"""QubesDB daemons for tests: the lab's, which stands for the real pair of programs, as processes of their own.

Debian has no package of the real ``qubesdb-daemon``. The lab's daemon does on the wire what the real one was seen
to do, its refusals and its closing of connections included.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.dom0 import SETTINGS, ScriptedAgent
from tests.support.lab_store import wait_until
from tests.support.warm import WarmPython
from vminterface.channel.qubesdb.store import QubesDB
from vminterface.channel.store import Operation, SetPermissions, Watch, Write
from vminterface.channel.xenstore.store import XenStore
from vminterface.dom0.inventory.targets import Targets

PROJECT = Path(__file__).resolve().parents[2]


def _changed(path: Path) -> int | None:
    try:
        return os.stat(path).st_ctime_ns
    except FileNotFoundError:
        return None


def _changed_since(mark: int, path: Path) -> bool:
    return _changed(path) not in (None, mark)


class Daemons:
    """One process with the pairs of *vms*; dom0's sockets are in *folder*, each VM's own in ``folder/VM``."""

    def __init__(self, folder: Path, *vms: str) -> None:
        self.folder = folder
        self.vms = vms
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start with empty stores, and wait until all sockets are there."""
        words = [str(self.folder), *(f"{vm}={self.folder / vm}" for vm in self.vms)]
        paths = os.pathsep.join([str(PROJECT), str(PROJECT / "_utils")])
        self.process = WarmPython(
            ["lab.qubesdb", *words], env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        with self.process.stdout:
            assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        """End the process; its sockets stay, as those of a VM that was killed."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def restart_dom0(self) -> None:
        """Start dom0's daemons afresh and wait until they listen: they have no keys, the VMs' keep theirs."""
        marks = {vm: os.stat(self.folder / f"qubesdb.{vm}.ro.sock").st_ctime_ns for vm in self.vms}
        self.signal(signal.SIGUSR1)
        for vm, mark in marks.items():
            assert wait_until(partial(_changed_since, mark, self.folder / f"qubesdb.{vm}.ro.sock"))

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The process does nothing meanwhile, as a daemon that hangs."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            if self.process is not None:
                self.signal(signal.SIGCONT)

    def dom0(self, vm: str, timeout: float = 5.0) -> QubesDB:
        """A new connection of dom0 to the QubesDB of *vm*."""
        return QubesDB.open(vm, timeout, folder=str(self.folder))

    def guest(self, vm: str, timeout: float = 5.0) -> QubesDB:
        """A new connection from inside *vm*."""
        return QubesDB.open(None, timeout, folder=str(self.folder / vm))


def _with_slash(one: Operation) -> Operation:
    if isinstance(one, Write):
        return Write(f"/{one.path}", one.value)
    if isinstance(one, SetPermissions):
        return SetPermissions(f"/{one.path}", one.permissions)
    return type(one)(f"/{one.path}")


class _GuestStore(QubesDB):
    """A guest's QubesDB whose paths go without their first slash, as those of a guest's XenStore do."""

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        return super().batch([_with_slash(one) for one in operations], timeout=timeout)

    def read(self, path: str, *, timeout: float | None = None) -> bytes:
        return super().read(f"/{path}", timeout=timeout)

    def write(self, path: str, value: bytes, *, timeout: float | None = None) -> None:
        super().write(f"/{path}", value, timeout=timeout)

    def read_many(self, paths: Sequence[str], *, timeout: float | None = None) -> list[bytes | None]:
        return super().read_many([f"/{path}" for path in paths], timeout=timeout)

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> Watch:
        return super().watch([f"/{path}" for path in paths], timeout=timeout)


class QubesHost:
    """A dom0 of Qubes R3 or R4, with the face of :class:`tests.support.dom0.Dom0`."""

    def __init__(self, root: Path) -> None:
        self.folder = root
        self.folder.mkdir(parents=True)
        self.daemons: dict[str, Daemons] = {}
        self.guests: list[ScriptedAgent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for guest in self.guests:
            guest.stop()
        for daemons in set(self.daemons.values()):
            daemons.stop()

    def start_vm(self, *names: str) -> None:
        """Start the daemons of VMs; those of one call share a process."""
        for former in {self.daemons.pop(name) for name in names if name in self.daemons}:
            former.stop()
        daemons = Daemons(self.folder, *names)
        daemons.start()
        self.daemons.update(dict.fromkeys(names, daemons))
        for name in names:
            with daemons.dom0(name) as store:
                store.write("/name", name.encode())

    def fill(self, name: str, size: int) -> None:
        """Let a VM write more than *size* bytes of its own into its QubesDB."""
        with self.daemons[name].guest(name) as store:
            for outcome in store.batch([Write(f"/own/{number}", b"x" * 3000) for number in range(size // 3000 + 1)]):
                assert outcome is None

    def stop_vm(self, name: str) -> None:
        """End the daemons of a VM; their sockets stay behind."""
        self.daemons.pop(name).stop()

    def targets(self) -> Targets:
        """Where the library finds this host's VMs. There is no XenStore here."""

        def none() -> XenStore:
            return XenStore.open(str(self.folder / "no-xenstore"))

        return Targets(none, qubesdb_folder=str(self.folder))

    def store(self, name: str) -> QubesDB:
        """A new connection of dom0 to a VM's QubesDB."""
        return self.daemons[name].dom0(name)

    def guest_store(self, name: str) -> QubesDB:
        """A connection from inside the VM."""
        return _GuestStore(str(self.folder / name / "qubesdb.sock"), 5.0, inside=True)

    def read(self, name: str, key: str) -> str | None:
        """What dom0 sees under *key* of the VM called *name*."""
        with self.store(name) as store:
            value = store.read_many([f"/{key}"])[0]
        return None if value is None else value.decode()

    def dump(self) -> dict[str, bytes]:
        """Everything that the stores hold."""
        found = {}
        for name in self.daemons:
            with self.store(name) as store:
                found.update({f"{name}:{path}": value for path, value in store.tree("/").items()})
        return found

    def agent(
        self,
        name: str,
        reply: Callable[[str, dict[str, str]], str | None] = lambda setting, inputs: "",
        settings: frozenset[str] = SETTINGS,
        unaccepted: Mapping[str, str] | None = None,
    ) -> ScriptedAgent:
        """Let an agent work in the VM, as :meth:`tests.support.dom0.Dom0.agent` does, and wait until it says so."""
        guest = ScriptedAgent(self.guest_store(name), reply, settings, unaccepted)
        self.guests.append(guest)
        assert guest.announced.wait(10)
        return guest
