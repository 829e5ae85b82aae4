"""How the XenStore client speaks to the kernel's device file, which keeps one request and no more."""

from __future__ import annotations

import select
import socket
from pathlib import Path
from typing import Any

import pytest

from vminterface.channel.xenstore import connection as xenstore_connection
from vminterface.channel.xenstore.connection import XenStoreConnection
from vminterface.channel.xenstore.transport import connect
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded
from vminterface.wire.xenstore import Op, Reply, Request

VALUE = b"value"


class Kernel:
    """As Linux's xenbus_dev_frontend.c: what is written before the answer has been sent goes over what waits there."""

    payload_max = 4080
    one_at_a_time = True

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._waiting: bytes | None = None
        self.overwritten = 0

    def fileno(self) -> int:
        return self._ours.fileno()

    def write(self, data: bytes) -> int:
        self.overwritten += self._waiting is not None
        self._waiting = data
        return len(data)

    def reply(self) -> None:
        """Do what the kernel's thread does when it gets its turn."""
        if self._waiting is not None:
            kind_id_and_transaction, self._waiting = self._waiting[:12], None
            self._theirs.send(kind_id_and_transaction + len(VALUE).to_bytes(4, "little") + VALUE)

    def read(self) -> bytes:
        return self._ours.recv(65536)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    poll = select.poll

    class Poll:
        """Gives the kernel its turn each time that the client waits."""

        def __init__(self) -> None:
            self._real = poll()

        def register(self, *arguments: Any) -> None:
            self._real.register(*arguments)

        def poll(self, timeout: Any) -> Any:
            made.reply()
            return self._real.poll(timeout)

    monkeypatch.setattr("vminterface.channel.xenstore.connection.select.poll", Poll)
    monkeypatch.setattr(xenstore_connection, "connect", lambda path, timeout: made)
    return made


@pytest.mark.parametrize("window", [None, 16])
def test_no_request_is_written_before_the_former_one_has_its_answer(kernel: Kernel, window: int | None) -> None:
    connection = XenStoreConnection("/dev/xen/xenbus", lambda event: None, 5.0, window)
    replies = connection.exchange([Request(Op.READ, f"key/{n}") for n in range(40)], Deadline.after(5))
    connection.close()
    assert kernel.overwritten == 0
    assert [reply.value for reply in replies if isinstance(reply, Reply)] == [VALUE] * 40


def test_a_daemon_that_hangs_and_has_no_room_for_a_connection_is_late(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as daemon, socket.socket(socket.AF_UNIX) as waiting:
        daemon.bind(path)
        daemon.listen(0)
        waiting.connect(path)
        with pytest.raises(DeadlineExceeded, match=r"socket: the daemon accepted no connection within 0\.05 s$"):
            connect(path, 0.05)
