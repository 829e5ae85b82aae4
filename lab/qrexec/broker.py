"""dom0's part of a call: who calls is told by the socket, what may be called by dom0 itself or the policy.

A caller sends one message with its three streams' descriptors. The agent that is then started in the VM gets these, and
the caller's connection, on which it says how the call ended; so nothing of a call passes through here.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lab.qrexec import policy
from lab.qrexec.command import BadCommand, Command, check, parse
from lab.qrexec.status import PROBLEM, REFUSED

#: Bytes of a request: a command as JSON, in which a byte may take six.
_REQUEST_MAX = 1 << 19
_STREAMS = 3
_STRANGE = re.compile(r"[^A-Za-z0-9_.+-]")
_STRANGE_IN_TARGET = re.compile(r"[^A-Za-z0-9_.@:-]")

#: Says in which state the VM is: ``running``, ``paused``, or another.
State = Callable[[str], str]


class Started(Protocol):
    """The agent of a call."""

    def poll(self) -> int | None:
        """Return None while it runs."""


#: Starts the agent in a VM for a command (as JSON), with the three streams and the connection.
Start = Callable[[str, str, list[int], int], Started]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call of a VM that is paused."""

    vm: str
    command: Command
    connection: socket.socket
    streams: list[int]


class Broker:
    """Takes calls of dom0 and of VMs. Nothing here waits, so a caller can hold up nobody."""

    def __init__(
        self,
        policy_file: Path,
        state: State,
        start: Start,
        watcher: selectors.BaseSelector,
        log: Callable[[str], None],
    ) -> None:
        self._policy, self._state, self._start, self._log = policy_file, state, start, log
        #: Where whoever uses this waits for readable things; the data of each is what to do then.
        self._watcher = watcher
        self._waiting: list[_Waiting] = []
        self._agents: list[Started] = []

    def serve(self, connection: socket.socket, source: str) -> None:
        """Take the one message that has come on *connection*, from the VM *source* or ``dom0``."""
        self._agents = [agent for agent in self._agents if agent.poll() is None]
        streams: list[int] = []
        try:
            data, streams, _flags, _address = socket.recv_fds(connection, _REQUEST_MAX, _STREAMS)
            vm, command = self._decided(source, json.loads(data))
            if len(streams) != _STREAMS:
                raise BadCommand("the caller's three streams did not come with it")
        except (BadCommand, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            _end(connection, streams, PROBLEM, f"bad request: {error}")
        except _Refused as refusal:
            self._log(f"{source}: {refusal}")
            _end(connection, streams, REFUSED, "Request refused")
        else:
            call = _Waiting(vm, command, connection, streams)
            self._waiting.append(call)
            # A caller says nothing more, so that is its end.
            self._watcher.register(connection, selectors.EVENT_READ, lambda: self._forget(call))
            self.inspect()

    def _forget(self, call: _Waiting) -> None:
        """Drop a call whose caller has gone."""
        self._waiting.remove(call)
        self._watcher.unregister(call.connection)
        _close(call.connection, call.streams)

    def inspect(self) -> None:
        """Start the calls that waited for a VM which runs again; end those of VMs that are no more."""
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            state = self._state(call.vm)
            if state == "paused":
                self._waiting.append(call)
                continue
            self._watcher.unregister(call.connection)
            if state == "running":
                self._begin(call)
            else:
                missing = f"connect /var/run/qubes/qrexec.{call.vm}: No such file or directory"
                _end(call.connection, call.streams, PROBLEM, missing)

    def close(self) -> None:
        """End the calls that wait."""
        for call in self._waiting:
            self._watcher.unregister(call.connection)
            _end(call.connection, call.streams, PROBLEM, "the lab goes down")
        self._waiting = []

    def _begin(self, call: _Waiting) -> None:
        with suppress(OSError):
            call.connection.send(b'{"started": true}')
        try:
            agent = self._start(call.vm, json.dumps(call.command.plain()), call.streams, call.connection.fileno())
        except OSError as error:
            _end(call.connection, call.streams, PROBLEM, f"the agent cannot be started: {error}")
            return
        self._agents.append(agent)
        _close(call.connection, call.streams)

    def _decided(self, source: str, request: dict[str, Any]) -> tuple[str, Command]:
        """Return in which VM to run what. Raises BadCommand, _Refused."""
        vm = str(request["target"])
        if source == "dom0":
            return vm, parse(str(request["command"]))
        # A VM's words lose here what they should not have, as in the real daemon.
        descriptor = _STRANGE.sub("_", str(request["descriptor"]))
        target = _STRANGE_IN_TARGET.sub("_", vm.replace("$", "@"))
        try:
            command = check(Command("DEFAULT", source, descriptor))
            allowed = policy.decide_by(self._policy, command, target)
        except (BadCommand, policy.BadPolicy) as error:
            raise _Refused(f"{error}") from None
        if allowed is None:
            raise _Refused(f"{descriptor} in {target}: denied by policy")
        if self._state(allowed.target) not in ("running", "paused"):
            raise _Refused(f"{descriptor} in {allowed.target}: not running")
        return allowed.target, replace(command, user=allowed.user)


class _Refused(Exception):
    """dom0 does not let a VM make this call."""


def _end(connection: socket.socket, streams: list[int], status: int, reason: str) -> None:
    with suppress(OSError):
        connection.send(json.dumps({"status": status, "reason": reason}).encode())
    _close(connection, streams)


def _close(connection: socket.socket, streams: list[int]) -> None:
    for stream in streams:
        os.close(stream)
    connection.close()
