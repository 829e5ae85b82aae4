"""What dom0's program is asked to run in a VM: ``USER:[nogui:]QUBESRPC SERVICE[+ARGUMENT] SOURCE``, or a shell command.

Parsed as by Qubes core-qrexec's ``libqrexec/exec.c``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

#: Bytes of a whole message, of a service with its argument, and of a service.
MESSAGE_MAX, DESCRIPTOR_MAX, SERVICE_MAX = 65535, 65000, 255
_KEYWORD = "QUBESRPC"
_NO_GUI = "nogui:"


class BadCommand(Exception):
    """It cannot be made out what is to be run."""


@dataclass(frozen=True, slots=True)
class Command:
    """*descriptor* is the service with its argument as it was sent; without one, *shell* is run by the user's shell."""

    user: str
    source: str = ""
    descriptor: str = ""
    nogui: bool = False
    shell: str = ""

    @property
    def service(self) -> str:
        """The service's name."""
        return self.descriptor.partition("+")[0]

    @property
    def argument(self) -> str | None:
        """What stands behind the first ``+``; None without one."""
        _, plus, argument = self.descriptor.partition("+")
        return argument if plus else None

    def plain(self) -> dict[str, Any]:
        """Return it as data for the other side."""
        return asdict(self)


def parse(line: str) -> Command:
    """Return what *line* asks for. Raises BadCommand."""
    if len(line.encode()) > MESSAGE_MAX:
        raise BadCommand(f"command of more than {MESSAGE_MAX} bytes")
    user, colon, rest = line.partition(":")
    if not colon or not user:
        raise BadCommand("no user before a colon")
    nogui = rest.startswith(_NO_GUI)
    rest = rest.removeprefix(_NO_GUI)
    if not rest.startswith(f"{_KEYWORD} "):
        return Command(user, nogui=nogui, shell=rest)
    words = rest.split(" ")[1:]
    if len(words) not in (2, 4) or "" in words:
        raise BadCommand(f"expected '{_KEYWORD} SERVICE[+ARGUMENT] SOURCE'")
    return check(Command(user, words[1], words[0], nogui))


def check(command: Command) -> Command:
    """Return *command* if its service is one. Raises BadCommand."""
    if not command.service or len(command.service) > SERVICE_MAX or len(command.descriptor) > DESCRIPTOR_MAX:
        raise BadCommand(f"a service has 1 to {SERVICE_MAX} bytes, with its argument {DESCRIPTOR_MAX} at most")
    return command
