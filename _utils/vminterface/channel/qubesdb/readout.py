"""Reads QubesDB connections that were given up to their end, in a small process that outlives the one that made them.

dom0's daemon (qubes-core-qubesdb) runs with SIGPIPE at its default: a reply, or a watch event, for a client that has
closed its connection ends it, and the VM is without QubesDB until it is started again. So a connection on which the
daemon may still send something is never closed. Its sending side is shut down: the daemon handles what it has been
sent, then sees the end, and hangs up first. One that does so at once is waited for here; one that hangs is handed to
a process that reads and drops what comes, for :data:`HOLD` seconds at most, whatever becomes of this one.

This file is also that process's program, so it imports the standard library alone.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from contextlib import suppress

#: Seconds in which a daemon that works hangs up.
GRACE = 0.05
#: Seconds that a connection is read for at most: a daemon that was stopped for longer dies when it goes on.
HOLD = 30.0
#: The same where there can be no process for it, and this one waits.
HOLD_HERE = 2.0
#: Seconds that the process stays without anything to read.
_IDLE = 1.0
#: Bytes that are read at once; nothing of them is kept. Few, as Python sets them aside before it reads.
_CHUNK = 4096
#: Seconds that the process has to start.
_START = 10.0

_lock = threading.Lock()
#: Our end of the channel to the process, None where there is none yet.
_control: socket.socket | None = None


def _forget() -> None:
    global _lock, _control
    _lock, _control = threading.Lock(), None


# A fork may happen while another thread holds the lock.
os.register_at_fork(after_in_child=_forget)


def hang_up(stream: socket.socket) -> None:
    """Close *stream*, a connection on which the daemon may still send something, without harm to the daemon.

    Takes :data:`GRACE` seconds where it does not hang up, and the start of a process. Raises nothing of its own.
    """
    try:
        with suppress(OSError):
            stream.shutdown(socket.SHUT_WR)
        if not _ends_within(stream, GRACE) and not _hand_over(stream):
            _ends_within(stream, HOLD_HERE)
    finally:
        stream.close()


def _ends_within(stream: socket.socket, seconds: float) -> bool:
    """Read and drop what comes; whether the daemon has hung up within *seconds*."""
    end = time.monotonic() + seconds
    poll = select.poll()
    poll.register(stream, select.POLLIN)
    while (left := end - time.monotonic()) > 0:
        if poll.poll(left * 1000) and _is_at_end(stream):
            return True
    return False


def _is_at_end(stream: socket.socket) -> bool:
    try:
        return not stream.recv(_CHUNK, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _hand_over(stream: socket.socket) -> bool:
    """Give *stream* to the process, which is started if need be; whether it has it."""
    global _control
    with _lock:
        if _control is not None and _send(_control, stream):
            return True
        try:
            _control = _start()
        except (OSError, ValueError):
            return False
        return _send(_control, stream)


def _send(control: socket.socket, stream: socket.socket) -> bool:
    try:
        # What is on its way belongs to the kernel: it comes even if this process ends now.
        socket.send_fds(control, [b"1"], [stream.fileno()])
    except OSError:
        control.close()
        return False
    return True


def _start() -> socket.socket:
    """Start the process and return our end of the channel to it. Raises OSError."""
    import subprocess  # here, as the program that is started does not need it

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            subprocess.run(
                [sys.executable or "python3", "-I", "-S", __file__],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True, cwd="/", check=True, timeout=_START,
            )  # fmt: skip
    except subprocess.SubprocessError as error:
        ours.close()
        raise OSError(str(error)) from None
    except BaseException:
        ours.close()
        raise
    ours.setblocking(False)
    return ours


def read_out(control: socket.socket) -> None:
    """Read the connections that come through *control* until each has ended or had its time, and no others come."""
    control.setblocking(False)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    held: dict[int, tuple[socket.socket, float]] = {}
    leaving = False
    while not leaving or held:
        now = time.monotonic()
        for number in [number for number, (_, end) in held.items() if end <= now]:
            poll.unregister(number)
            held.pop(number)[0].close()
        left = min((end - now for _, end in held.values()), default=_IDLE)
        ready = [number for number, _ in poll.poll(left * 1000)]
        for number in ready:
            if number != control.fileno() and number in held and _is_at_end(held[number][0]):
                poll.unregister(number)
                held.pop(number)[0].close()
        if control.fileno() in ready or (not ready and not held and not leaving):
            if control.fileno() not in ready:
                # From here on a sender is refused, and starts another process; what has come already is taken.
                control.shutdown(socket.SHUT_RD)
            leaving = _take(control, held, poll)
            if leaving:
                poll.unregister(control)


def _take(control: socket.socket, held: dict[int, tuple[socket.socket, float]], poll: select.poll) -> bool:
    """Take the connections that have come; whether no others will."""
    while True:
        try:
            said, numbers, _, _ = socket.recv_fds(control, 16, 16)
        except BlockingIOError:
            return False
        if not said:
            return True
        for number in numbers:
            held[number] = socket.socket(fileno=number), time.monotonic() + HOLD
            poll.register(number, select.POLLIN)


def main() -> None:
    """Be that process: its parent, which is waited for, ends at once."""
    import signal

    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as control:
        os.close(0)
        read_out(control)


if __name__ == "__main__":
    main()
