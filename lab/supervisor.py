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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.host import Host
from lab.paths import LabPaths
from lab.qrexec import install, policy
from lab.qrexec.broker import Broker
from lab.vmlist import load
from vminterface.errors import VMInterfaceError

_REQUEST_LIMIT = 4096
_CLIENT_SECONDS = 5.0


class Supervisor:
    """Serves until it is told ``down``, or gets SIGTERM or SIGINT."""

    def __init__(self, host: Host, listener: socket.socket, woken: socket.socket) -> None:
        self._host = host
        self._ending = False
        self._ears: dict[str, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._broker = Broker(
            host.paths.policy,
            host.state,
            lambda vm, *call: host.vm(vm).answer(*call),
            self._selector,
            lambda line: _say(f"qrexec: {line}"),
        )
        self._commands: dict[str, Callable[[str], Any]] = {
            "status": lambda name: host.status(),
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "pause": lambda name: host.vm(name).pause(),
            "unpause": self._unpause,
            "screens": lambda name: host.vm(name).show_screens(),
            "down": self._down,
        }
        self._when_readable(woken, self._end)
        self._when_readable(listener, lambda: self._answer(listener))
        self._hear("dom0", host.paths.qrexec)
        for name in host.running:
            self._watch(name)

    def serve(self) -> None:
        """Answer commands and service calls, and watch the VMs."""
        while not self._ending:
            for key, _ in self._selector.select():
                if key.fileobj in self._selector.get_map():  # what was done before may have ended it
                    key.data()
        self._broker.close()

    def _end(self) -> None:
        self._ending = True

    def _when_readable(self, what: socket.socket | int, action: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, action)

    def _hear(self, source: str, place: Path) -> None:
        """Take service calls of *source* at *place*."""
        ear = self._ears[source] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        place.unlink(missing_ok=True)
        ear.bind(str(place))
        place.chmod(0o666 if source != "dom0" else 0o600)
        ear.listen(64)

        def accept() -> None:
            with contextlib.suppress(OSError):
                caller, _ = ear.accept()
                self._when_readable(caller, lambda: self._take(caller, source))

        self._when_readable(ear, accept)

    def _take(self, caller: socket.socket, source: str) -> None:
        self._selector.unregister(caller)
        self._broker.serve(caller, source)

    def _watch(self, name: str) -> None:
        vm = self._host.running[name]
        self._when_readable(vm.fileno(), lambda: self._listen(name))
        self._hear(name, vm.root / install.SOCKET)

    def _unwatch(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._host.vm(name).fileno())
        if (ear := self._ears.pop(name, None)) is not None:
            self._selector.unregister(ear)
            ear.close()

    def _listen(self, name: str) -> None:
        vm = self._host.running[name]
        before = vm.agent_status
        if not vm.listen():
            self._unwatch(name)
            self._broker.look()
            _say(f"{name} has ended unexpectedly: {vm.last_words()}")
        elif vm.agent_status != before:
            _say(f"{name}: its agent ended with status {vm.agent_status}: {vm.last_words()}")

    def _start(self, name: str) -> None:
        self._host.start(name)
        self._watch(name)

    def _stop(self, name: str) -> None:
        self._unwatch(name)
        self._host.stop(name)
        self._broker.look()

    def _unpause(self, name: str) -> None:
        self._host.vm(name).unpause()
        self._broker.look()

    def _restart(self, name: str) -> None:
        self._stop(name)
        self._start(name)

    def _down(self, name: str) -> None:
        self._end()

    def _answer(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.settimeout(_CLIENT_SECONDS)
        with client, contextlib.suppress(OSError):
            line = b""
            while not line.endswith(b"\n") and len(line) < _REQUEST_LIMIT and (data := client.recv(_REQUEST_LIMIT)):
                line += data
            client.sendall(json.dumps(self._do(line)).encode() + b"\n")

    def _do(self, line: bytes) -> dict[str, Any]:
        try:
            command, name = json.loads(line)
            return {"answer": self._commands[command](name)}
        except VMInterfaceError as fault:
            return {"fault": str(fault)}
        except (ValueError, KeyError, TypeError):
            return {"fault": f"the lab does not understand {line[:80]!r}"}


def _say(line: str) -> None:
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
            print("up", flush=True)
            os.dup2(2, 1)  # nobody reads standard output any more
            supervisor.serve()
    except (VMInterfaceError, OSError) as fault:
        _say(f"{fault}")
        with contextlib.suppress(OSError):
            print(fault, flush=True)
        return 1
    finally:
        if host is not None:
            host.down()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
