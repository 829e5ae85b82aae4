"""Carry bytes between the caller and a TCP port of this VM, both ways at once, until the port's side has ended.

What a link to ``/dev/tcp/127.0.0.1/PORT`` is to the agents of R4.2 and later (Qubes core-qrexec, ``libqrexec/exec.c``).
Each way holds one block at most: whoever reads slowly makes the other side wait.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket

from vminterface.errors import ConnectionLost, VMInterfaceError
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.caller import PERIOD, Caller

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
#: Seconds that the port has to accept the connection.
TIMEOUT = 10.0
_BLOCK = 65536


def relay(call: Call, port: int) -> None:
    """Connect the caller to *port* for as long as both sides want.

    A caller that has sent all may still get what comes, and is watched meanwhile. Raises VMInterfaceError where nothing
    listens there, ConnectionLost, BrokenPipeError (the caller closed the connection).
    """
    caller = Caller(call.stdout.fileno())
    with _connected(port) as peer:
        source, target = call.stdin.fileno(), call.stdout.fileno()
        modes = {descriptor: os.get_blocking(descriptor) for descriptor in (source, target)}
        try:
            for descriptor in (source, target, peer.fileno()):
                os.set_blocking(descriptor, False)
            _carry(_Way(source, peer.fileno()), _Way(peer.fileno(), target), peer, caller)
        finally:
            for descriptor, mode in modes.items():
                os.set_blocking(descriptor, mode)


def _connected(port: int) -> socket.socket:
    try:
        return socket.create_connection((HOST, port), TIMEOUT)
    except TimeoutError:
        raise VMInterfaceError(f"port {port} of {HOST} did not accept the connection within {TIMEOUT:g} s") from None
    except OSError as error:
        raise VMInterfaceError(f"port {port} of {HOST} cannot be connected to: {error.strerror}") from None


class _Way:
    """One direction: what was read from *source* and not yet written to *target*."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.rest = memoryview(b"")
        #: Whether the source has ended, or the target takes no more.
        self.ended = False

    @property
    def awaited(self) -> tuple[int, int] | None:
        """The descriptor and the event that it waits for, None once it is done."""
        if self.rest:
            return self.target, select.POLLOUT
        return None if self.ended else (self.source, select.POLLIN)

    def go_on(self) -> None:
        """Move what can be moved at once. Raises OSError."""
        with contextlib.suppress(BlockingIOError):
            if not self.rest:
                self.rest = memoryview(os.read(self.source, _BLOCK))
                self.ended = not self.rest
            if self.rest:
                self.rest = self.rest[os.write(self.target, self.rest) :]

    def give_up(self) -> None:
        """Take no more, and forget what the target did not take."""
        self.rest, self.ended = memoryview(b""), True


def _carry(sent: _Way, answered: _Way, peer: socket.socket, caller: Caller) -> None:
    """Go on until *answered* is done: the port's side has ended, and the caller has got all of it."""
    open_for_sending = True
    while answered.awaited:
        ready = _ready([way.awaited for way in (sent, answered) if way.awaited], PERIOD if sent.ended else None)
        if not ready:
            caller.check()
        if sent.awaited and sent.awaited[0] in ready:
            try:
                sent.go_on()
            except (BrokenPipeError, ConnectionResetError):
                # It reads no more, and may still have something to say.
                sent.give_up()
        if open_for_sending and not sent.awaited:
            open_for_sending = False
            # Where it is gone already, its way ends by itself.
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)
        if answered.awaited and answered.awaited[0] in ready:
            try:
                answered.go_on()
            except ConnectionResetError as error:
                raise ConnectionLost(f"the connection ended early: {error.strerror}") from None


def _ready(awaited: Sequence[tuple[int, int] | None], seconds: float | None) -> set[int]:
    """Return the descriptors that have what is awaited of them, or an end; none after *seconds*."""
    masks: dict[int, int] = {}
    for descriptor, event in filter(None, awaited):
        masks[descriptor] = masks.get(descriptor, 0) | event
    waiting = select.poll()
    for descriptor, mask in masks.items():
        waiting.register(descriptor, mask)
    return {descriptor for descriptor, _ in waiting.poll(None if seconds is None else 1000 * seconds)}
