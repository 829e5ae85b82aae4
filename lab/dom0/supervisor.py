"""The lab's daemon: holds the host, answers ``lab`` commands on a Unix socket, one line of JSON each way.

On further sockets, one for each caller, it takes the service calls of dom0 and of VMs.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.dom0.host import Host
from lab.dom0.loop import Loop
from lab.dom0.vmlist import load
from lab.paths import LabPaths
from lab.qrexec import install, policy
from lab.qrexec.broker import Broker
from lab.qubesd import CLIENT
from lab.qubesd.inlab import RELEASE, LabMachines, LabQubesd, environment
from vminterface.channel.gui import PORT as GUI_PORT
from vminterface.errors import InvalidValue, VMInterfaceError

_REQUEST_LIMIT = 4096
_CLIENT_SECONDS = 5.0


class Supervisor:
    """Serves until it is told ``down``, or gets SIGTERM or SIGINT. Where *host* has a qubesd, that starts the VMs."""

    def __init__(self, host: Host, listener: socket.socket, woken: socket.socket) -> None:
        self._host = host
        self._loop = Loop()
        self._qubesd: LabQubesd | None = None
        self._ending = False
        self._ears: dict[str, list[socket.socket]] = {}
        self._selector = selectors.DefaultSelector()
        self._broker = Broker(
            host.paths.policy,
            host.state,
            lambda vm, *call: host.vm(vm).reply(*call),
            self._selector,
            lambda line: _log(f"qrexec: {line}"),
        )
        self._commands: dict[str, Callable[[str], Any]] = {
            "status": lambda name: self._status(),
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "pause": lambda name: host.vm(name).pause(),
            "unpause": self._unpause,
            "restart-agent": host.restart_agent,
            "restart-store": lambda name: host.restart_store(),
            "restart-qubesdb": host.restart_qubesdb,
            "restart-qubesd": lambda name: self._restart_qubesd(),
            "screens": lambda name: host.vm(name).start_screens(),
            "down": self._down,
        }
        #: Commands that wait for qubesd, and so for work that is done here.
        self._slow: dict[str, Callable[[str], Any]] = {}
        if host.release == RELEASE:
            machines = LabMachines(host, self._loop, self._watch, self._unwatch, self._broker.inspect)
            self._qubesd = LabQubesd(host, machines)
            for command in ("start", "stop", "restart", "pause", "unpause"):
                self._slow[command] = getattr(self._qubesd, command)
            self._when_readable(self._loop.fileno(), self._loop.run)
        self._when_readable(woken, self._end)
        self._when_readable(listener, lambda: self._serve(listener))
        self._hear_calls("dom0", host.paths.qrexec)

    def start(self) -> None:
        """Start all VMs, providers first."""
        for name in self._host.specs:
            (self._slow.get("start") or self._start)(name)

    def serve(self) -> None:
        """Answer commands and service calls, and watch the VMs."""
        with self._qubesd or contextlib.nullcontext():
            while not self._ending:
                for key, _ in self._selector.select():
                    if key.fileobj in self._selector.get_map():  # what was done before may have ended it
                        key.data()
            self._loop.close()
        self._broker.close()

    def environment(self) -> dict[str, str]:
        """Return what programs of dom0 need in their environment."""
        return {**self._host.environment(), **(environment(self._host) if self._qubesd else {})}

    def _status(self) -> dict[str, Any]:
        python_path = str(CLIENT) if self._qubesd else ""
        return {**self._host.status(), "environment": self.environment(), "python_path": python_path}

    def _end(self) -> None:
        self._ending = True

    def _when_readable(self, what: socket.socket | int, action: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, action)

    def _hear_calls(self, source: str, place: Path) -> None:
        """Take service calls of *source* at *place*."""

        def take(caller: socket.socket) -> None:
            self._when_readable(caller, lambda: self._take(caller, source))

        self._hear(source, place, socket.SOCK_SEQPACKET, take, mode=0o666 if source != "dom0" else 0o600)

    def _hear_greetings(self, name: str) -> None:
        """Let the VM have its end of the GUI connections that dom0 makes to it."""
        vm = self._host.running[name]

        def take(caller: socket.socket) -> None:
            with caller:
                vm.greet(caller.fileno())

        place = self._host.paths.vchan / f"vchan.{vm.domid}.0.{GUI_PORT}.sock"
        self._hear(name, place, socket.SOCK_STREAM, take, mode=0o600)

    def _hear(self, name: str, place: Path, kind: int, take: Callable[[socket.socket], None], *, mode: int) -> None:
        """Listen at *place* until *name* is watched no more."""
        ear = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)
        self._ears.setdefault(name, []).append(ear)
        place.unlink(missing_ok=True)
        ear.bind(str(place))
        place.chmod(mode)
        ear.listen(64)

        def accept() -> None:
            with contextlib.suppress(OSError):
                take(ear.accept()[0])

        self._when_readable(ear, accept)

    def _take(self, caller: socket.socket, source: str) -> None:
        self._selector.unregister(caller)
        self._broker.serve(caller, source)

    def _watch(self, name: str) -> None:
        vm = self._host.running[name]
        self._when_readable(vm.fileno(), lambda: self._listen(name))
        self._hear_calls(name, vm.root / install.SOCKET)
        self._hear_greetings(name)

    def _unwatch(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._host.vm(name).fileno())
        for ear in self._ears.pop(name, []):
            self._selector.unregister(ear)
            place = ear.getsockname()
            ear.close()
            Path(place).unlink(missing_ok=True)

    def _listen(self, name: str) -> None:
        vm = self._host.running[name]
        before = vm.agent_status
        if not vm.listen():
            self._unwatch(name)
            self._broker.inspect()
            _log(f"{name} has ended unexpectedly: {vm.last_words()}")
        elif vm.agent_status != before:
            _log(f"{name}: its agent ended with status {vm.agent_status}: {vm.last_words()}")

    def _start(self, name: str) -> None:
        self._host.start(name)
        self._watch(name)

    def _stop(self, name: str) -> None:
        self._unwatch(name)
        self._host.stop(name)
        self._broker.inspect()

    def _unpause(self, name: str) -> None:
        self._host.vm(name).unpause()
        self._broker.inspect()

    def _restart(self, name: str) -> None:
        self._stop(name)
        self._start(name)

    def _restart_qubesd(self) -> None:
        if self._qubesd is None:
            raise InvalidValue(f"there is no qubesd here (expected a lab of {RELEASE})")
        self._qubesd.restart_daemon()

    def _down(self, name: str) -> None:
        self._end()

    def _serve(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.settimeout(_CLIENT_SECONDS)
        line = b""
        with contextlib.suppress(OSError):
            while not line.endswith(b"\n") and len(line) < _REQUEST_LIMIT and (data := client.recv(_REQUEST_LIMIT)):
                line += data
        try:
            command, name = json.loads(line)
            work = self._slow.get(command) or self._commands[command]
        except (ValueError, KeyError, TypeError):
            command, name, work = "", "", _not_understood(line)
        if command in self._slow:
            threading.Thread(target=self._reply, args=(client, work, name), daemon=True).start()
        else:
            self._reply(client, work, name)

    @staticmethod
    def _reply(client: socket.socket, work: Callable[[str], Any], name: str) -> None:
        reply: dict[str, Any]
        try:
            reply = {"reply": work(name)}
        except VMInterfaceError as error:
            reply = {"error": str(error)}
        with client, contextlib.suppress(OSError):
            client.sendall(json.dumps(reply).encode() + b"\n")


def _not_understood(line: bytes) -> Callable[[str], Any]:
    def refuse(name: str) -> Any:
        raise InvalidValue(f"the lab does not understand {line[:80]!r}")

    return refuse


def _log(line: str) -> None:
    print(f"lab: {line}", file=sys.stderr, flush=True)


def main(folder: str, vms: str, store: str, release: str) -> int:
    """Be the supervisor of the lab in *folder*; its first line on standard output is ``up``, or what went wrong."""
    paths = LabPaths(Path(folder))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # who started us may have blocked some
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    host = None
    try:
        host = Host(paths, load(Path(vms) if vms else None), store, release)
        install.dom0(paths.programs, paths.qrexec)
        paths.policy.write_text(policy.DEFAULT)
        host.up()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(paths.control))
            listener.listen(16)
            supervisor = Supervisor(host, listener, woken)
            supervisor.start()
            print("up", flush=True)
            os.dup2(2, 1)  # nobody reads standard output any more
            supervisor.serve()
    except (VMInterfaceError, OSError) as error:
        _log(f"{error}")
        with contextlib.suppress(OSError):
            print(error, flush=True)
        return 1
    finally:
        if host is not None:
            host.down()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
