"""Run the QubesDB daemons of VMs, each in a pair as in dom0 and in the VM, until SIGTERM or SIGINT.

SIGUSR1 starts dom0's of each pair afresh.
"""

from __future__ import annotations

import argparse
import signal
import socket
from pathlib import Path
from types import FrameType

from lab.qubesdb.server import Server


def _vm(text: str) -> tuple[str, Path | None]:
    name, equals, folder = text.partition("=")
    return name, Path(folder) if equals else None


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> int:
    """Return the exit status; prints ``ready`` once all sockets are there."""
    parser = argparse.ArgumentParser(prog="lab.qubesdb", description=__doc__)
    parser.add_argument("dom0", type=Path, metavar="FOLDER", help="where dom0 finds the sockets qubesdb.VM.sock")
    parser.add_argument(
        "vms", type=_vm, nargs="+", metavar="VM[=FOLDER]", help="a VM, and where it finds its own, qubesdb.sock"
    )
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    server = Server()
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    server.restart_dom0_on(woken)
    try:
        for vm, folder in arguments.vms:
            server.add(vm, arguments.dom0, folder)
        print("ready", flush=True)
        server.serve()
    finally:
        server.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
