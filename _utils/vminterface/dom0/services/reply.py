"""What all service calls share: an answer that a parser must accept, and output that is kept whatever the status."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vminterface.channel.process import Writer
from vminterface.channel.qrexec.client import Reply
from vminterface.errors import InvalidValue, RemoteProtocolError

T = TypeVar("T")

#: Bytes of noise on standard output that are taken from a service which has nothing to say there.
NOISE = 1 << 16


def accepted(vm: str, service: str, parse: Callable[[bytes], T], reply: Reply) -> T:
    """Return what *parse* makes of *reply*. Raises RemoteProtocolError that names *vm* and *service*."""
    try:
        return parse(reply.untrusted_stdout)
    except InvalidValue as error:
        raise RemoteProtocolError(f"{service} in {vm}: {error}") from error


class Captured:
    """Takes output as it comes, so that it is there also after a call that failed; with *into*, only hands it on."""

    def __init__(self, into: Writer | None = None) -> None:
        self._into = into
        self._pieces = bytearray()
        #: Bytes that have come.
        self.size = 0

    def write(self, untrusted_data: bytes) -> None:
        """Take the next piece."""
        self.size += len(untrusted_data)
        if self._into is None:
            self._pieces += untrusted_data
        else:
            self._into.write(untrusted_data)

    @property
    def untrusted_data(self) -> bytes:
        """All that was kept."""
        return bytes(self._pieces)
