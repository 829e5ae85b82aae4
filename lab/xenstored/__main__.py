"""``python -m lab.xenstored ROOT``: run the daemon below the folder ROOT until it gets SIGTERM or SIGINT.

SIGUSR1 ends all connections, as a restart of the daemon does; it keeps its nodes.
"""

from __future__ import annotations

import argparse
import signal
import socket
from pathlib import Path

from lab.xenstored.server import Server


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="lab.xenstored", description=__doc__)
    parser.add_argument("root", type=Path, help="folder with run/socket for dom0 and dom<N>/xenbus for domain N")
    arguments = parser.parse_args()
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    server = Server(arguments.root)
    try:
        server.serve(woken)
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
