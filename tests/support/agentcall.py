"""Calls as the qrexec agent makes them: two socket pairs and a pipe for messages, and either side may hang up."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.handlers import LIBRARY, VM, Reply
from tests.support.warm import WarmPython
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.handlers.runtime.entry import entry
from vminterface.vm.machine.machine import Machine


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
        messages, its_stderr = os.pipe()
        self._said = bytearray()
        self._parted, self._part = os.pipe()
        with its_stdin, its_stdout:
            self.process = WarmPython(
                [str(program), *arguments],
                handler=True,
                stdin=its_stdin.fileno(),
                stdout=its_stdout.fileno(),
                stderr=its_stderr,
                env=given,
            )
        os.close(its_stderr)
        self._listener = threading.Thread(target=self._listen, args=(messages,))
        self._listener.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self.stdin.close()
        self.stdout.close()
        # First in a way that lets it end what it has started.
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        os.close(self._parted)

    def send(self, data: bytes) -> None:
        """Send *data*, as much as the handler takes."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.stdin.sendall(data)

    def end_input(self) -> None:
        """Let the handler see the end of its input."""
        with contextlib.suppress(OSError):
            self.stdin.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """Be gone, as a caller is that was killed.

        As Qubes' agent shows it (core-qrexec ``process_io.c``): stdin ends, stdout is shut down for reading, and the
        messages have nobody at their other end; the sockets themselves stay open for as long as the handler runs.
        """
        # The messages first: otherwise one about the end of the others may still be heard.
        if self._part >= 0:
            os.close(self._part)
            self._part = -1
        self._listener.join()
        for end, how in ((self.stdin, socket.SHUT_WR), (self.stdout, socket.SHUT_RD)):
            with contextlib.suppress(OSError):
                end.shutdown(how)

    def _listen(self, messages: int) -> None:
        """Read the handler's messages until their end, or until this caller is gone."""
        waiting = select.poll()
        waiting.register(messages, select.POLLIN)
        waiting.register(self._parted, 0)
        while messages in (ready := dict(waiting.poll())) and self._parted not in ready:
            if not (data := os.read(messages, 65536)):
                break
            self._said += data
        os.close(messages)

    def read(self, size: int, timeout: float = 30.0) -> bytes:
        """Return *size* bytes of the answer, fewer at its end."""
        self.stdout.settimeout(timeout)
        data = b""
        while len(data) < size and (piece := self.stdout.recv(min(1 << 20, size - len(data)))):
            data += piece
        return data

    def ended(self, timeout: float = 30.0) -> Reply:
        """Wait for the end and return it with the rest of the answer."""
        rest = self.read(1 << 30, timeout)
        status = self.process.wait(timeout)
        self._listener.join(timeout)
        return Reply(status, rest, self._said.decode())


def call(
    vm: VM, service: str, data: bytes = b"", *arguments: str, source: str = "work", timeout: float = 30.0, **env: str
) -> Reply:
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
    stdout, reply = socket.socketpair()
    sender.sendall(data)
    sender.shutdown(socket.SHUT_WR)
    # The handler may close its input itself, by its number.
    own = stdin.detach()
    with (
        sender,
        stdout,
        reply,
        open(own, "rb", buffering=0, closefd=False) as source,
        open(stdout.fileno(), "wb", buffering=0, closefd=False) as target,
    ):
        try:
            yield Call(service, "work", argument, source, target, Machine(str(vm.root))), reply
        finally:
            with contextlib.suppress(OSError):
                os.close(own)


def ends(pid: int, seconds: float = 20.0) -> bool:
    """Wait for the end of the process *pid*, which may have been killed just now; whether it has come."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def is_there(pid: int) -> bool:
    """Whether the process *pid* runs."""
    return not ends(pid, 0)
