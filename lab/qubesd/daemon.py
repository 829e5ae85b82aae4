"""The daemon that tests use: its VMs, the calls that were made, and what it is to do wrong."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.qubesd import guivms, lifecycle
from lab.qubesd.errors import Refused, Unanswered
from lab.qubesd.events import KEPT, Events, Listener, encoded
from lab.qubesd.methods import Call, call
from lab.qubesd.properties import CLASSES
from lab.qubesd.qube import Live, Machines, Qube
from lab.qubesd.server import Request, Server
from lab.qubesd.system import Faults, System


class Qubesd:
    """Use it in a ``with`` block; *qubes* may be changed at any time.

    *live* is called where qubesd writes a VM's QubesDB, *machines* where it starts and ends a domain.
    """

    def __init__(
        self, path: Path, qubes: Mapping[str, Qube], live: Live | None = None, machines: Machines | None = None
    ) -> None:
        self.path = path
        machines = Machines() if machines is None else machines
        self.system = System(qubes, CLASSES, (lambda vm, key, value: None) if live is None else live, machines)
        for name, qube in self.qubes.items():
            qube.tags |= guivms.tags_of(self.system, name)
        #: The last KEPT calls that were made: method, argument, VM.
        self.calls: list[tuple[str, str, str]] = []
        #: Replies to nobody while it is set, as one that hangs.
        self.hung = threading.Event()
        #: Is sent in place of every reply, where it is set.
        self.instead: bytes | None = None
        #: What it refuses, by method and argument.
        self.refuse: dict[tuple[str, str], Refused | Unanswered] = {}
        self._server = Server(path, self._reply, self.events.leave)

    @property
    def qubes(self) -> dict[str, Qube]:
        """The VMs by name, ``dom0`` among them."""
        return self.system.qubes

    @property
    def faults(self) -> Faults:
        """What does not work."""
        return self.system.faults

    @property
    def events(self) -> Events:
        """What has happened."""
        return self.system.events

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.system.ending.set()
        self.hung.clear()
        self.events.hang_up()
        self._server.stop()

    def stop_listening(self) -> None:
        """Be away: no socket, and every stream ends."""
        self.events.hang_up()
        self._server.stop()

    def start_listening(self) -> None:
        """Be there again."""
        self._server = Server(self.path, self._reply, self.events.leave)
        self._server.start()

    def start_vm(self, name: str) -> None:
        """Start a VM, as ``admin.vm.Start`` does; one that runs is ended first. Raises Refused, Unanswered."""
        with self.system.lock:
            if self.qubes[name].running:
                lifecycle.stop(self.system, name)
            lifecycle.start(self.system, name)

    def stop_vm(self, name: str) -> None:
        """End a VM, as if it had shut itself down."""
        with self.system.lock:
            lifecycle.stop(self.system, name)

    def pause_vm(self, name: str) -> None:
        """Halt a VM where it is, as ``admin.vm.Pause`` does. Raises Refused, Unanswered."""
        with self.system.lock:
            lifecycle.pause(self.system, name)

    def unpause_vm(self, name: str) -> None:
        """Let a VM go on, as ``admin.vm.Unpause`` does. Raises Refused, Unanswered."""
        with self.system.lock:
            lifecycle.unpause(self.system, name)

    def _reply(self, data: bytes) -> bytes | Listener:
        while self.hung.is_set():
            threading.Event().wait(0.02)
        if self.instead is not None:
            return self.instead
        request = Request.parse(data)
        with self.system.lock:
            self.calls.append((request.method, request.argument, request.vm))
            del self.calls[:-KEPT]
            try:
                source, vm = self.system.named(request.source), self.system.named(request.vm)
                request = replace(request, source=source, vm=vm)
                if request.method == "admin.Events":
                    return self._listen(request)
                return b"0\0" + self._call(request)
            except Refused as error:
                return error.encoded()

    def _call(self, request: Request) -> bytes:
        asked = request.method, request.argument
        if asked in self.refuse:
            raise self.refuse[asked]
        one = Call(self.system, request.source, request.vm, request.argument, request.payload)
        found = call(request.method, one)
        for work in self.faults.afterwards.get(asked, []):
            work()
        return found

    def _listen(self, request: Request) -> Listener:
        if request.argument or request.payload:
            raise Unanswered("unexpected argument or payload")
        listener = self.events.listen(None if request.vm == "dom0" else request.vm)
        listener.waiting.put(encoded("", "connection-established", {}))
        return listener
