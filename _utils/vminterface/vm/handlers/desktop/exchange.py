"""Carries bytes between a caller's two streams and a socket, both ways at once, until either side ends."""

from __future__ import annotations

import contextlib
import os
import socket
import threading

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from vminterface.vm.handlers.runtime.call import Call
    from vminterface.vm.handlers.runtime.caller import Caller

#: Bytes that are under way in each direction: a side that takes nothing holds the other up.
BLOCK = 65536


def exchange(call: Call, caller: Caller, shown: socket.socket) -> None:
    """Carry what *call* sends to *shown*, and what comes from there to the caller; return when *shown* ends.

    The end of the call's input is passed on. Raises ConnectionLost when *caller* has gone, BrokenPipeError.
    """
    threading.Thread(target=_forward, args=(call.stdin.fileno(), shown), daemon=True).start()
    while True:
        # A terminal that is held (Ctrl-S) takes no end of input: that the caller closed the connection shows here
        # alone.
        caller.wait(shown.fileno())
        if not (data := _receive(shown)):
            return
        call.write(data)


def _forward(source: int, shown: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(source, BLOCK):
            shown.sendall(data)
    with contextlib.suppress(OSError):
        shown.shutdown(socket.SHUT_WR)


def _receive(shown: socket.socket) -> bytes:
    try:
        return shown.recv(BLOCK)
    except ConnectionError:
        return b""
