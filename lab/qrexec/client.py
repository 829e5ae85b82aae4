"""The lab's ``qrexec-client`` (dom0) and ``qrexec-client-vm`` (VMs): command lines and exit status of the real ones.

Sources: Qubes core-qrexec, ``daemon/qrexec-client.c`` and ``agent/qrexec-client-vm.c``.
"""

from __future__ import annotations

import getopt
import json
import os
import select
import socket
import sys
import time
from contextlib import suppress

from lab.qrexec.status import NOT_FOUND, PROBLEM, REFUSED
from lab.qrexec.streams import copy

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost each call time
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import IO, Any, NoReturn

#: Seconds that a VM has to take the call.
_CONNECT_SECONDS = 10
_DOM0_USAGE = "usage: qrexec-client -d VM [-l PROGRAM|-e] [-t] [-T] [-w SECONDS] USER:COMMAND"
_VM_USAGE = "usage: qrexec-client-vm [-t] [-T] [--] VM SERVICE[+ARGUMENT] [PROGRAM [ARGUMENT...]]"
#: What -t and -T let through to a terminal.
_HARMLESS = frozenset(b"\a\b\t\n\r") | frozenset(range(0x20, 0x7F))
_FILTER = bytes(byte if byte in _HARMLESS else ord("_") for byte in range(256))


def dom0(place: str, arguments: Sequence[str]) -> int:
    """Be ``qrexec-client``; dom0's part of calls listens at *place*. Return the exit status."""
    try:
        found, rest = getopt.getopt(list(arguments), "d:l:etTw:")
        options = dict(found)
        seconds = int(options.get("-w", _CONNECT_SECONDS))
    except (getopt.GetoptError, ValueError) as error:
        _usage(f"{error}", _DOM0_USAGE, 1)
    if len(rest) != 1 or "-d" not in options or ("-l" in options and "-e" in options):
        _usage("", _DOM0_USAGE, 1)
    if "-e" in options:
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(null, number)
    local = ["/bin/sh", "-c", options["-l"]] if "-l" in options else None
    call = _Call("qrexec-client", place, {"target": options["-d"], "command": rest[0]}, seconds)
    return call.run(local, "-t" in options, "-T" in options, forget="-e" in options)


def vm(place: str, arguments: Sequence[str]) -> int:
    """Be ``qrexec-client-vm``."""
    names = ["filter-escape-chars-stdout", "filter-escape-chars-stderr", "no-filter-escape-chars-stdout",
             "no-filter-escape-chars-stderr", "buffer-size="]  # fmt: skip
    try:
        found, rest = getopt.getopt(list(arguments), "tT", names)
    except getopt.GetoptError as error:
        _usage(f"{error}", _VM_USAGE, 2)
    if len(rest) < 2:
        _usage("", _VM_USAGE, 2)
    options = {name for name, _ in found}
    call = _Call("qrexec-client-vm", place, {"target": rest[0], "descriptor": rest[1]}, _CONNECT_SECONDS)
    return call.run(
        rest[2:] or None,
        bool(options & {"-t", "--filter-escape-chars-stdout"}),
        bool(options & {"-T", "--filter-escape-chars-stderr"}),
    )


def _usage(error: str, usage: str, status: int) -> NoReturn:
    print(f"{error}\n{usage}" if error else usage, file=sys.stderr)
    raise SystemExit(status)


class _Call:
    def __init__(self, name: str, place: str, request: dict[str, Any], seconds: int) -> None:
        self._name, self._place, self._request, self._seconds = name, place, request, seconds

    def run(self, local: list[str] | None, filter_stdout: bool, filter_stderr: bool, *, forget: bool = False) -> int:
        """Make the call, with *local* as the other end of its streams if there is one; return the exit status."""
        streams = [0, 1, 2]
        own: list[int] = []
        ends: list[IO[bytes]] = []
        after: list[Callable[[], object]] = []
        if local is not None:
            import subprocess  # only here, as a call is mostly over before that would be imported

            # As the real programs do: the program reads what the service says and says what the service reads.
            process = subprocess.Popen(local, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdin is not None
            assert process.stdout is not None
            ends = [process.stdin, process.stdout]
            streams = [process.stdout.fileno(), process.stdin.fileno(), 2]
            after.append(process.wait)
        if filter_stdout:
            streams[1], wait = _filtered(streams[1])
            own.append(streams[1])
            after.insert(0, wait)
        if filter_stderr:
            streams[2], wait = _filtered(2)
            own.append(streams[2])
            after.insert(0, wait)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            try:
                connection.connect(self._place)
            except OSError as error:
                return self._problem(f"connect {self._place}: {error.strerror}")
            socket.send_fds(connection, [json.dumps(self._request).encode()], streams)
            # Whoever reads or writes at our other end is to notice when the service does not any more.
            for end in ends:
                end.close()
            null = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1):
                os.dup2(null, number)
            for stream in own:
                os.close(stream)
            status = self._wait(connection, forget)
        for wait in after:
            wait()
        return status

    def _wait(self, connection: socket.socket, forget: bool) -> int:
        """Wait for the VM to take the call, and for its end."""
        end = time.monotonic() + self._seconds
        started = False
        while True:
            left = None if started else max(0.0, end - time.monotonic())
            if not select.select([connection], [], [], left)[0]:
                return self._problem("qrexec connection timeout")
            reply = b""
            with suppress(OSError):
                reply = connection.recv(65536)
            if not reply:
                return self._problem("connection with the VM was closed")
            told = json.loads(reply)
            if "status" in told:
                status = int(told["status"])
                if status == REFUSED and "reason" in told:
                    print(told["reason"], file=sys.stderr)
                elif "reason" in told:
                    return self._problem(told["reason"])
                # The real one is gone by then, and has heard of these alone.
                return 0 if forget and status not in (NOT_FOUND, REFUSED, PROBLEM) else status
            started = True

    def _problem(self, reason: str) -> int:
        print(f"{time.strftime('%F %T')}.000 {self._name}[{os.getpid()}]: {reason}", file=sys.stderr)
        return PROBLEM


def _filtered(target: int) -> tuple[int, Callable[[], object]]:
    """Return a descriptor for what goes to *target* without what a terminal obeys, and what waits for its end."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        copy(reading, target, _FILTER)
        os._exit(0)
    os.close(reading)
    return writing, lambda: os.waitpid(child, 0)
