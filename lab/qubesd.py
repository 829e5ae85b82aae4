"""A qubesd of the lab: VMs with features and properties, behind the Admin API's own protocol on a Unix socket.

A request is ``METHOD+ARGUMENT SOURCE name DESTINATION``, a NUL and the value, up to the end of what the client sends.
The answer starts with ``0`` and a NUL; with ``2`` and a NUL where it is an exception: class, traceback, format and its
arguments, a NUL after each. What the caller may not do, and what breaks the protocol, gets no answer at all. Forms:
``developer/services/admin-api`` of the Qubes documentation.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

#: Bytes of a request at most; a connection that sends more is cut off.
REQUEST_LIMIT = 65536
#: Type and default of each property that VMs have here.
PROPERTIES = {
    "netvm": ("vm", "sys-net"),
    "ip": ("str", "10.137.0.99"),
    "mac": ("str", "00:16:3e:5e:6c:00"),
    "debug": ("bool", "False"),
    "keyboard_layout": ("str", "us++"),
    "provides_network": ("bool", "False"),
    "qid": ("int", "7"),
}

#: Told what a running VM's key has become: VM, key, value; None: it was removed.
Live = Callable[[str, str, str | None], None]


@dataclass
class Qube:
    """One VM as qubesd knows it."""

    klass: str = "AppVM"
    state: str = "Halted"
    features: dict[str, str] = field(default_factory=dict)
    #: Those that somebody has set.
    properties: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """An exception that the client shall see: the name of its class, its message."""

    def __init__(self, kind: str, message: str, *arguments: str) -> None:
        super().__init__(message)
        self.kind, self.message, self.arguments = kind, message, arguments


class _Unanswered(Exception):
    """The connection is closed without a word."""


class Qubesd:
    """Use it in a ``with`` block; *qubes* may be changed at any time.

    *live* is called, as qubesd writes QubesDB, when a feature that a running VM sees changes.
    """

    def __init__(self, path: Path, qubes: dict[str, Qube], live: Live | None = None) -> None:
        self.path = path
        self.qubes = {"dom0": Qube("AdminVM", "Running"), **qubes}
        #: The calls that were made: method, argument, VM.
        self.calls: list[tuple[str, str, str]] = []
        #: Answers nobody while it is set, as one that hangs.
        self.hung = threading.Event()
        #: Is sent in place of every answer, where there is one.
        self.instead: bytes | None = None
        #: What it refuses, by method and argument.
        self.refuse: dict[tuple[str, str], Refused] = {}
        self._live = live or (lambda vm, key, value: None)
        self._lock = threading.RLock()
        daemon = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, _Unanswered):
                    daemon._serve(self.rfile.read(REQUEST_LIMIT + 1), self.wfile.write)

        self._server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.hung.clear()
        self._server.shutdown()
        self._server.server_close()
        self.path.unlink(missing_ok=True)

    def start_vm(self, name: str) -> None:
        """Let the VM run; the features that it sees become keys of it."""
        with self._lock:
            qube = self.qubes[name]
            qube.state = "Running"
            for feature, value in qube.features.items():
                self._tell(name, feature, value)

    def _serve(self, request: bytes, send: Callable[[bytes], object]) -> None:
        while self.hung.is_set():
            threading.Event().wait(0.02)
        if self.instead is not None:
            send(self.instead)
            return
        header, nul, value = request.partition(b"\0")
        words = header.decode("ascii", "replace").split(" ")
        if not nul or len(words) != 4 or words[2] != "name" or len(request) > REQUEST_LIMIT:
            raise _Unanswered
        method, _, argument = words[0].partition("+")
        vm = words[3]
        with self._lock:
            self.calls.append((method, argument, vm))
            try:
                answer = b"0\0" + self._call(method, argument, vm, value)
            except Refused as error:
                parts = [error.kind, "", error.message, *error.arguments]
                answer = b"2\0" + b"".join(part.encode() + b"\0" for part in parts)
        send(answer)

    def _call(self, method: str, argument: str, vm: str, value: bytes) -> bytes:
        if (refused := self.refuse.get((method, argument))) is not None:
            raise refused
        if method == "admin.vm.List":
            lines = [f"{name} class={q.klass} state={q.state}\n" for name, q in sorted(self.qubes.items())]
            return "".join(lines).encode()
        if vm not in self.qubes:
            raise Refused("QubesVMNotFoundError", "No such domain: %r", vm)
        what, _, verb = method.removeprefix("admin.vm.").partition(".")
        if what == "feature":
            return self._feature(verb, argument, vm, value.decode())
        if what == "property":
            return self._property(verb, argument, self.qubes[vm], value.decode())
        raise _Unanswered

    def _feature(self, verb: str, name: str, vm: str, value: str) -> bytes:
        features = self.qubes[vm].features
        if verb == "List":
            return "".join(f"{one}\n" for one in features).encode()
        if verb == "Set":
            features[name] = value
            self._tell(vm, name, value)
            return b""
        if name not in features:
            raise Refused("QubesFeatureNotFoundError", "Feature not set for domain %s: %s", vm, name)
        if verb == "Get":
            return features[name].encode()
        if verb == "Remove":
            del features[name]
            self._tell(vm, name, None)
            return b""
        raise _Unanswered

    def _tell(self, vm: str, feature: str, value: str | None) -> None:
        """Let a running VM's keys follow a feature that it sees."""
        if self.qubes[vm].state != "Running":
            return
        if feature.startswith("service."):
            shown = None if value is None else "1" if value else "0"
            self._live(vm, f"qubes-service/{feature.removeprefix('service.')}", shown)
        elif feature.startswith("vm-config."):
            self._live(vm, f"vm-config/{feature.removeprefix('vm-config.')}", value)

    def _property(self, verb: str, name: str, qube: Qube, value: str) -> bytes:
        if verb == "List":
            return "".join(f"{one}\n" for one in PROPERTIES).encode()
        if name not in PROPERTIES:
            raise Refused("QubesNoSuchPropertyError", "Invalid property %r", name)
        kind, default = PROPERTIES[name]
        if verb == "Get":
            is_default = name not in qube.properties
            return f"default={is_default} type={kind} {qube.properties.get(name, default)}".encode()
        if verb == "GetDefault":
            return f"type={kind} {default}".encode()
        if verb == "Reset":
            qube.properties.pop(name, None)
            return b""
        if verb != "Set":
            raise _Unanswered
        if kind == "vm" and value and value not in self.qubes:
            raise Refused("QubesVMNotFoundError", "No such domain: %r", value)
        if name == "keyboard_layout" and value.count("+") != 2:
            raise Refused("QubesPropertyValueError", "Keyboard layout has to be of the form layout+variant+options")
        if kind == "bool" and value not in ("True", "False"):
            raise Refused("QubesPropertyValueError", "Invalid literal for boolean property")
        qube.properties[name] = value
        return b""
