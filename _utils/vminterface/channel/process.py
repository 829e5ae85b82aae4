"""Run one program: feed it, read it within bounds, end it and all its children when the deadline comes.

One loop writes standard input while it reads standard output and standard error, so that no sizes can make the
two sides wait for each other. Nothing outlives :func:`run`: a program that is not done is ended with its whole
process group and reaped, whatever the reason.
"""

from __future__ import annotations

import contextlib
import io
import os
import selectors
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, BinaryIO, Protocol, cast

from vminterface.channel.interruptions import start
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, OutputTooLarge, ProgramFailed, ProgramMissing

#: Seconds within which a deadline that is shortened meanwhile is noticed.
_NOTICED = 0.2


@dataclass(frozen=True, slots=True)
class Preceded:
    """A *file* to be sent after some other bytes. As for a file alone, one that gives nothing is under the deadline."""

    first: bytes
    file: BinaryIO


#: What may be sent to a program: all of it, a file, or pieces. Of pieces, None means "nothing to send before the
#: program has said more": so a conversation can be had with it.
Input = bytes | BinaryIO | Preceded | Iterable[bytes | None]

#: Called with the bytes sent and the bytes received so far.
Progress = Callable[[int, int], None]

#: Bytes of standard error that are kept, the first ones; the rest is read and dropped.
STDERR_LIMIT = 4096

#: Seconds between asking a process group to end and killing it.
GRACE = 0.5

_CHUNK = 65536


class Writer(Protocol):
    """Where output may go as it comes: a binary file, or a parser with such a method."""

    def write(self, untrusted_data: bytes, /) -> object:
        """Take the next piece."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Input for a program, and the limits of its output; a service call is one, too."""

    stdin: Input = b""
    #: Bytes of output, also where it goes to *stdout_to*.
    stdout_limit: int
    #: Takes the output as it comes, instead of its being kept.
    stdout_to: Writer | None = None
    #: Whether the first byte of output ends the sending.
    early_reply: bool = False
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. *status* is negative if a signal ended it."""

    status: int
    untrusted_stdout: bytes
    untrusted_stderr: bytes


def not_started(what: str, program: str, error: OSError) -> ProgramMissing | ProgramFailed:
    """Return the error for a *program* that could not be started; *what* names the undertaking."""
    if isinstance(error, FileNotFoundError):
        return ProgramMissing(f"{what}: the program {program} is not installed")
    if isinstance(error, PermissionError):
        return ProgramMissing(f"{what}: the program {program} may not be run (expected permission to execute it)")
    return ProgramFailed(f"{what}: {program} cannot be started: {error.strerror}")


def run(
    argv: Sequence[str],
    what: str,
    deadline: Deadline,
    conversation: Conversation,
    *,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run *argv* until it has ended and closed both of its outputs.

    *what* names the undertaking in errors. *env* is added to this program's environment. A program that stops reading
    is not an error. After the deadline, ending the program takes up to GRACE seconds.

    Raises ProgramMissing, ProgramFailed (it could not be started), DeadlineExceeded, OutputTooLarge.
    """
    try:
        process, held = start(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
    except OSError as error:
        raise not_started(what, argv[0], error) from error
    exchange = _Exchange(process, what, conversation)
    try:
        held.release()
        exchange.talk(_Source(conversation.stdin), deadline)
        status = process.wait(timeout=deadline.check(what))
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded(f"{what}: did not end within {deadline.seconds:g} s") from None
    finally:
        if process.returncode is None:
            _end(process)
        exchange.close()
    return Ended(status, bytes(exchange.stdout), bytes(exchange.stderr))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End *process* and its group. It is reaped last: until then nobody else can get its process group's number."""
    _signal_group(process.pid, signal.SIGTERM)
    kill_at = time.monotonic() + GRACE
    while time.monotonic() < kill_at:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            break
        time.sleep(0.01)
    _signal_group(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10 * GRACE)


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class _Source:
    """What is left to be sent."""

    def __init__(self, data: Input) -> None:
        self.piece = memoryview(b"")
        #: A descriptor that is to be readable before :meth:`fetch` is called, None: fetch at any time.
        self.descriptor: int | None = None
        #: Nothing to send until more output has come.
        self.listening = False
        self.ended = False
        self._pieces: Iterator[bytes | None]
        if isinstance(data, Preceded):
            self.piece, data = memoryview(data.first), data.file
        if isinstance(data, bytes):
            self._pieces = iter([data])
        elif hasattr(data, "read"):
            file = cast(BinaryIO, data)
            self.descriptor = _waitable(file)
            self._pieces = _blocks(file)
        else:
            self._pieces = iter(data)

    def fetch(self) -> None:
        """Get the next piece that has a byte in it, or find out that there is none."""
        while not self.piece and not self.ended and not self.listening:
            try:
                piece = next(self._pieces)
            except StopIteration:
                self.ended = True
                return
            if piece is None:
                self.listening = True
            else:
                self.piece = memoryview(piece).cast("B")
            if self.descriptor is not None:
                return


def _waitable(file: BinaryIO) -> int | None:
    """Return the descriptor of a pipe, socket or terminal, None for what is always ready."""
    try:
        descriptor = file.fileno()
    except (OSError, AttributeError, io.UnsupportedOperation):
        return None
    mode = os.fstat(descriptor).st_mode
    return descriptor if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode) else None


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    # read1 returns what one read gives; read would wait until the block is full.
    read = getattr(file, "read1", file.read)
    while block := read(_CHUNK):
        yield block


class _Exchange:
    """The three pipes of a running program."""

    def __init__(self, process: subprocess.Popen[bytes], what: str, conversation: Conversation) -> None:
        self.stdin = cast(IO[bytes], process.stdin)
        self.out = cast(IO[bytes], process.stdout)
        self.err = cast(IO[bytes], process.stderr)
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.what = what
        self.conversation = conversation
        self.sent = 0
        self.received = 0
        self.selector = selectors.PollSelector()

    def close(self) -> None:
        """Close all that is still open."""
        self.selector.close()
        for pipe in (self.stdin, self.out, self.err):
            pipe.close()

    def talk(self, source: _Source, deadline: Deadline) -> None:
        """Send and receive until both outputs have ended."""
        for pipe in (self.stdin, self.out, self.err):
            os.set_blocking(pipe.fileno(), False)
        self.selector.register(self.out, selectors.EVENT_READ)
        self.selector.register(self.err, selectors.EVENT_READ)
        while not (self.out.closed and self.err.closed):
            self._prepare(source)
            for key, _events in self.selector.select(min(deadline.check(self.what), _NOTICED)):
                if key.fileobj is self.out:
                    self._receive(source)
                elif key.fileobj is self.err:
                    self._receive_stderr()
                elif key.fileobj is self.stdin:
                    self._send(source)
                elif not self.stdin.closed:
                    source.fetch()

    def _prepare(self, source: _Source) -> None:
        """Have the selector wait for what can be done next on the sending side."""
        if self.stdin.closed:
            return
        if source.descriptor is None:
            source.fetch()
        if source.ended or (source.listening and self.out.closed):
            self._stop_sending(source)
            return
        self._watch(self.stdin, selectors.EVENT_WRITE, bool(source.piece))
        if source.descriptor is not None:
            self._watch(source.descriptor, selectors.EVENT_READ, not source.piece)

    def _watch(self, file: IO[bytes] | int, events: int, desired: bool) -> None:
        watched = file in self.selector.get_map()
        if desired and not watched:
            self.selector.register(file, events)
        elif watched and not desired:
            self.selector.unregister(file)

    def _stop_sending(self, source: _Source) -> None:
        if self.stdin.closed:
            return
        self._watch(self.stdin, 0, False)
        if source.descriptor is not None:
            self._watch(source.descriptor, 0, False)
        self.stdin.close()

    def _send(self, source: _Source) -> None:
        if self.stdin.closed:
            return
        try:
            count = os.write(self.stdin.fileno(), source.piece[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            # The program wants no more; what it says and how it ends is the answer.
            self._stop_sending(source)
            return
        source.piece = source.piece[count:]
        self.sent += count
        self._report()

    def _receive(self, source: _Source) -> None:
        data = self._read(self.out)
        if self.conversation.early_reply and (data or self.out.closed):
            self._stop_sending(source)
        if not data:
            return
        self.received += len(data)
        if self.received > (limit := self.conversation.stdout_limit):
            raise OutputTooLarge(f"{self.what}: sent more than {limit} bytes (the limit of this call)")
        if self.conversation.stdout_to is None:
            self.stdout += data
        else:
            self.conversation.stdout_to.write(data)
        source.listening = False
        self._report()

    def _receive_stderr(self) -> None:
        data = self._read(self.err)
        self.stderr += data[: STDERR_LIMIT - len(self.stderr)]

    def _read(self, pipe: IO[bytes]) -> bytes:
        """Return what has come; at its end, close *pipe*."""
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            self.selector.unregister(pipe)
            pipe.close()
        return data

    def _report(self) -> None:
        if self.conversation.progress is not None:
            self.conversation.progress(self.sent, self.received)
