"""How the XenStore client speaks to the kernel's device file, which keeps one request and no more."""

import select
import socket

import pytest

from vminterface.channel import xenstore_connection
from vminterface.channel.xenstore_connection import XenStoreConnection
from vminterface.deadline import Deadline
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

    def answer(self) -> None:
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
def kernel(monkeypatch):
    made = Kernel()
    poll = select.poll

    class Poll:
        """Gives the kernel its turn each time that the client waits."""

        def __init__(self) -> None:
            self._real = poll()

        def register(self, *arguments):
            self._real.register(*arguments)

        def poll(self, timeout):
            made.answer()
            return self._real.poll(timeout)

    monkeypatch.setattr(xenstore_connection.select, "poll", Poll)
    monkeypatch.setattr(xenstore_connection, "connect", lambda path, timeout: made)
    return made


@pytest.mark.parametrize("window", [None, 16])
def test_no_request_is_written_before_the_former_one_has_its_answer(kernel, window):
    connection = XenStoreConnection("/dev/xen/xenbus", lambda event: None, 5.0, window)
    answers = connection.exchange([Request(Op.READ, f"key/{n}") for n in range(40)], Deadline.after(5))
    connection.close()
    assert kernel.overwritten == 0
    assert [answer.value for answer in answers if isinstance(answer, Reply)] == [VALUE] * 40
