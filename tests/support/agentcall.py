"""Calls as the qrexec agent makes them: standard input and output are two socket pairs, and either side may hang up."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.handlers import LIBRARY, VM, Answer
from vminterface.vm.handlers.call import Call
from vminterface.vm.handlers.entry import entry
from vminterface.vm.machine import Machine


class Running:
    """A handler at work. Leaving the ``with`` block ends it if it is still there."""

    def __init__(self, vm: VM, service: str, *arguments: str, source: str = "work", **environment: str) -> None:
        programs = vm.root.parent / "programs"
        programs.mkdir(exist_ok=True)
        program = programs / service
        if not program.exists():
            program.write_text(entry(service, LIBRARY, sys.executable, str(vm.root)))
            program.chmod(0o755)
        given = {"PATH": os.environ["PATH"], "HOME": "/home/user", "QREXEC_REMOTE_DOMAIN": source, **environment}
        self.stdin, its_stdin = socket.socketpair()
        self.stdout, its_stdout = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the handler
        with its_stdin, its_stdout:
            self.process = subprocess.Popen(
                [str(program), *arguments], stdin=its_stdin, stdout=its_stdout, stderr=self._stderr, env=given
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        # First in a way that lets it end what it has started.
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        self._stderr.close()

    def send(self, data: bytes) -> None:
        """Send *data*, as much as the handler takes."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.stdin.sendall(data)

    def end_input(self) -> None:
        """Let the handler see the end of its input."""
        with contextlib.suppress(OSError):
            self.stdin.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Be gone, as a caller is that was killed."""
        self.stdin.close()
        self.stdout.close()

    def read(self, size: int, timeout: float = 30.0) -> bytes:
        """Return *size* bytes of the answer, fewer at its end."""
        self.stdout.settimeout(timeout)
        data = b""
        while len(data) < size and (piece := self.stdout.recv(min(1 << 20, size - len(data)))):
            data += piece
        return data

    def ended(self, timeout: float = 30.0) -> Answer:
        """Wait for the end and return it with the rest of the answer."""
        rest = self.read(1 << 30, timeout) if self.stdout.fileno() >= 0 else b""
        status = self.process.wait(timeout)
        self._stderr.seek(0)
        return Answer(status, rest, self._stderr.read().decode())


def call(
    vm: VM, service: str, data: bytes = b"", *arguments: str, source: str = "work", timeout: float = 30.0, **env: str
) -> Answer:
    """Send *data*, end the input, and return how the handler answered."""
    with Running(vm, service, *arguments, source=source, **env) as running:

        def feed() -> None:
            running.send(data)
            running.end_input()

        feeder = threading.Thread(target=feed)
        feeder.start()
        try:
            return running.ended(timeout)
        finally:
            running.process.kill()  # then nobody is there to take more
            feeder.join()


@contextmanager
def within(vm: VM, service: str, data: bytes, argument: str = "") -> Iterator[tuple[Call, socket.socket]]:
    """Give a call for a handler in this process, which gets *data* and the input's end, and where its answer goes."""
    stdin, sender = socket.socketpair()
    stdout, answer = socket.socketpair()
    sender.sendall(data)
    sender.shutdown(socket.SHUT_WR)
    # The handler may close its input itself, by its number.
    own = stdin.detach()
    with (
        sender,
        stdout,
        answer,
        open(own, "rb", buffering=0, closefd=False) as source,
        open(stdout.fileno(), "wb", buffering=0, closefd=False) as target,
    ):
        try:
            yield Call(service, "work", argument, source, target, Machine(str(vm.root))), answer
        finally:
            with contextlib.suppress(OSError):
                os.close(own)


def is_there(pid: int) -> bool:
    """Whether the process *pid* runs."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)
