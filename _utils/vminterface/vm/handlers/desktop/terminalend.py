"""The program inside the terminal of ``qubes.ShowInTerminal``: joins the terminal, made raw, with a socket.

It is started by its path, with the socket's as its only argument, and imports nothing of the library: so it is the same
whatever the terminal has made of the environment.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import termios
import tty

_BLOCK = 65536
_INPUT, _OUTPUT = 0, 1


def main(path: str) -> int:
    """Show what comes from the socket *path* and send what is typed there, until either ends; return 0."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(path)
        before = termios.tcgetattr(_INPUT)
        tty.setraw(_INPUT)
        try:
            _join(stream)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the call is over
        finally:
            termios.tcsetattr(_INPUT, termios.TCSADRAIN, before)
    return 0


def _join(stream: socket.socket) -> None:
    waiting = select.poll()
    for descriptor in (_INPUT, stream.fileno()):
        waiting.register(descriptor, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in waiting.poll()]
        if stream.fileno() in ready:
            shown = memoryview(stream.recv(_BLOCK))
            if not shown:
                return
            while shown:
                shown = shown[os.write(_OUTPUT, shown) :]
        if _INPUT in ready:
            typed = os.read(_INPUT, _BLOCK)
            if not typed:
                return
            stream.sendall(typed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
