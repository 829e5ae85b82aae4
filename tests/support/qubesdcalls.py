"""Calls to a qubesd as bare bytes, with what it replies: text, an error's class and sentence, or nothing at all."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from lab.qubesd import Qubesd

#: What a call gets that qubesd does not reply to.
NOTHING = None


@dataclass(frozen=True)
class Error:
    """An exception of qubesd's, as a client gets it."""

    kind: str
    sentence: str


def exchange(daemon: Qubesd, request: bytes) -> bytes:
    """Send *request* as it is; return everything that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(daemon.path))
        reply = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                reply += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
    return reply


def ask(
    daemon: Qubesd, method: str, vm: str = "dom0", argument: str = "", payload: str | bytes = b"", source: str = "dom0"
) -> str | Error | None:
    """Make one call."""
    data = payload.encode() if isinstance(payload, str) else payload
    reply = exchange(daemon, f"{method}+{argument} {source} name {vm}\0".encode() + data)
    if reply.startswith(b"0\0"):
        return reply[2:].decode()
    if not reply:
        return NOTHING
    code, kind, traceback, sentence, end = reply.split(b"\0")
    assert (code, traceback, end) == (b"2", b"", b"")
    return Error(kind.decode(), sentence.decode())


def text_of(reply: str | Error | None) -> str:
    """Return a *reply* that has to be text."""
    assert isinstance(reply, str), reply
    return reply


def error_of(reply: str | Error | None) -> Error:
    """Return a *reply* that has to be an error."""
    assert isinstance(reply, Error), reply
    return reply


class Vm:
    """The calls about one VM, by what they are about."""

    def __init__(self, daemon: Qubesd, name: str) -> None:
        self.daemon, self.name = daemon, name

    def call(self, method: str, argument: str = "", payload: str | bytes = b"") -> str | Error | None:
        """Call ``admin.vm.METHOD``."""
        return ask(self.daemon, f"admin.vm.{method}", self.name, argument, payload)

    def set(self, name: str, value: str | bytes) -> str | Error | None:
        """Set a property and return what it reads then, or the reply to that."""
        reply = self.call("property.Set", name, value)
        return self.get(name) if reply == "" else reply

    def get(self, name: str) -> str | Error | None:
        """Return a property's text alone."""
        reply = self.call("property.Get", name)
        return reply.split(" ", 2)[2] if isinstance(reply, str) else reply

    def feature(self, name: str, value: str | bytes) -> str | Error | None:
        """Set a feature and return what it reads then, or the reply to that."""
        reply = self.call("feature.Set", name, value)
        return self.call("feature.Get", name) if reply == "" else reply

    def firewall(self, rules: str) -> str | Error | None:
        """Set the rules and return what they read then; NOTHING where there was no reply."""
        reply = self.call("firewall.Set", "", rules)
        return self.call("firewall.Get") if reply == "" else reply
