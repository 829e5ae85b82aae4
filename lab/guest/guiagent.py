"""The GUI agent of a VM, for one connection: tells its version, learns the screen, and reads until dom0 hangs up."""

from __future__ import annotations

import socket
import sys

from vminterface.deadline import Deadline
from vminterface.errors import ConnectionLost, VMInterfaceError
from vminterface.vm.agent import gui
from vminterface.vm.machine.files import Files

#: Seconds that dom0 has for its greeting, and for each message that it begins.
_GREETING = 10.0
_QUIET = 86400.0


def main(root: str, descriptor: int) -> int:
    """Be the agent of the VM whose files are below *root* on the connection *descriptor*."""
    with socket.socket(fileno=descriptor) as stream:
        try:
            begun = gui.begin(stream, Files(root), Deadline.after(_GREETING))
            while True:
                begun.receive(Deadline.after(_QUIET))
        except ConnectionLost:
            return 0
        except VMInterfaceError as error:
            print(f"GUI agent: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2])))
