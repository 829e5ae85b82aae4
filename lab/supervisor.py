"""The lab's daemon: holds the host, answers ``lab`` commands on a Unix socket, one line of JSON each way."""

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
from lab.vmlist import load
from vminterface.errors import VMInterfaceError

_REQUEST_LIMIT = 4096
_CLIENT_SECONDS = 5.0


class Supervisor:
    """Serves until it is told ``down``, or gets SIGTERM or SIGINT."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._ending = False
        self._selector = selectors.DefaultSelector()
        self._commands: dict[str, Callable[[str], Any]] = {
            "status": lambda name: host.status(),
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "pause": lambda name: host.vm(name).pause(),
            "unpause": lambda name: host.vm(name).unpause(),
            "down": self._down,
        }

    def serve(self, listener: socket.socket, woken: socket.socket) -> None:
        """Answer commands and watch the VMs."""
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._selector.register(woken, selectors.EVENT_READ, "stop")
        for name in self._host.running:
            self._watch(name)
        while not self._ending:
            for key, _ in self._selector.select():
                if key.data == "stop":
                    return
                if key.data is None:
                    self._answer(listener)
                else:
                    self._listen(key.data)

    def _watch(self, name: str) -> None:
        self._selector.register(self._host.running[name].fileno(), selectors.EVENT_READ, name)

    def _unwatch(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._host.vm(name).fileno())

    def _listen(self, name: str) -> None:
        vm = self._host.running[name]
        before = vm.agent_status
        if not vm.listen():
            self._unwatch(name)
            _say(f"{name} has ended unexpectedly: {vm.last_words()}")
        elif vm.agent_status != before:
            _say(f"{name}: its agent ended with status {vm.agent_status}: {vm.last_words()}")

    def _start(self, name: str) -> None:
        self._host.start(name)
        self._watch(name)

    def _stop(self, name: str) -> None:
        self._unwatch(name)
        self._host.stop(name)

    def _restart(self, name: str) -> None:
        self._stop(name)
        self._start(name)

    def _down(self, name: str) -> None:
        self._ending = True

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


def main(folder: str, vms: str, store: str) -> int:
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
        host = Host(paths, load(Path(vms) if vms else None), store)
        host.up()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(paths.control))
            listener.listen(16)
            print("up", flush=True)
            os.dup2(2, 1)  # nobody reads standard output any more
            Supervisor(host).serve(listener, woken)
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
