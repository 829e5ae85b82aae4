"""Lets the running agent reply to ``vminterface agent --check``: that it works, and whether it has its store.

The reply is given by the agent's own loop, between two steps, so an agent that hangs gives none. Only root may ask.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

import vminterface
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded, VMInterfaceError, printable
from vminterface.vm.machine.machine import Machine

#: Where the agent listens.
SOCKET = "/run/vminterface-agent.sock"
#: The first word of a reply: whether the agent has its store.
_READY, _WAITING = "ready", "waiting"
#: Bytes of a reply at most; replies read at once at most.
_LIMIT, _AT_ONCE = 1024, 8
#: Seconds between two attempts to get a reply that is the right one, and that one attempt takes at most.
_PAUSE, _ATTEMPT = 0.2, 5.0


class Presence:
    """The agent's end. Where it cannot listen, the agent still works, and *error* is the reason."""

    def __init__(self, machine: Machine) -> None:
        self.error = ""
        #: Why the agent has no store; empty text where it has one and has applied what was there.
        self.without_store = "it did not read its store yet"
        self._listening: socket.socket | None = None
        self._path = machine.path(SOCKET)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            listening.bind(self._path)
            os.chmod(self._path, 0o600)
            listening.listen(_AT_ONCE)
        except OSError as error:
            listening.close()
            self.error = f"{SOCKET}: cannot listen: {error.strerror or error}"
        else:
            self._listening = listening

    def reply(self) -> None:
        """Reply to those who have asked since the last time. Never waits."""
        words = f"{_WAITING} {self.without_store}" if self.without_store else f"{_READY} {vminterface.__version__}"
        for _ in range(_AT_ONCE):
            if self._listening is None:
                return
            try:
                asker, _ = self._listening.accept()
            except OSError:
                return
            with asker, suppress(OSError):
                asker.setblocking(False)
                asker.send(printable(words, _LIMIT - 1).encode("ascii") + b"\n")

    @property
    def descriptors(self) -> tuple[socket.socket, ...]:
        """What is readable when somebody asks."""
        return () if self._listening is None else (self._listening,)

    def close(self) -> None:
        """Listen no longer."""
        if self._listening is not None:
            self._listening.close()
            with suppress(OSError):
                os.unlink(self._path)
            self._listening = None


def version(machine: Machine, deadline: Deadline) -> str:
    """Return the version of the agent that works on *machine*, once it reports that it has its store.

    Raises DeadlineExceeded with its last report, or that there is none.
    """
    said = ""
    while True:
        none = "no agent is running in this VM"
        with suppress(OSError):
            word, _, rest = _ask(machine, min(_ATTEMPT, deadline.remaining)).partition(" ")
            if word == _READY:
                return rest
            # Its former reply has more information than that none came within the rest of the time.
            said = f"the agent of this VM has no store: {rest}" if word == _WAITING else said
            none = "the agent of this VM does not reply"
        if deadline.remaining <= _PAUSE:
            raise DeadlineExceeded(said or none)
        time.sleep(_PAUSE)


def _ask(machine: Machine, seconds: float) -> str:
    """Return the reply, empty text if there was none in time. Raises OSError where nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as stream:
        stream.settimeout(max(seconds, 0.01))
        try:
            stream.connect(machine.path(SOCKET))
        except VMInterfaceError as error:
            raise OSError(str(error)) from error
        reply = b""
        with suppress(TimeoutError):
            while len(reply) < _LIMIT and not reply.endswith(b"\n") and (data := stream.recv(_LIMIT)):
                reply += data
        return printable(reply.rstrip(b"\n"), _LIMIT)
