"""``qubes.VMShell``, ``qubes.VMRootShell``, ``qubes.VMExec``, ``qubes.VMExecGUI``, ``qubes.VMRootExec``: run a command.

Source: Qubes core-agent-linux (handlers) and ``qubesadmin.vm`` (how a shell gets its command: a line that ends with
``; exit``, then the command's own input). Other than there, the command is one quoted word for ``eval``: what it ends
with, a here-document, a comment or a backslash, would take the ``exit`` for itself, and the shell would run the input.

Not every VM has all of them: ``qubes.VMExec`` came with R4.1, ``qubes.VMRootExec`` with R4.3. So a command goes the
first way that its VM has, at last through the shell.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vminterface.channel.process import Writer
from vminterface.channel.qrexec.client import MESSAGE_LIMIT, STDOUT_LIMIT, TIMEOUT, Call, Qrexec, checked_timeout
from vminterface.deadline import Deadline
from vminterface.dom0.services.reply import Captured
from vminterface.errors import CallRefused, InvalidValue, ServiceFailed, ServiceNotFound, printable, printable_lines
from vminterface.values import rpcname
from vminterface.values.acceptance import IGNORE, NOTES, REFUSE
from vminterface.wire import vmexec

SHELL, ROOT_SHELL = "qubes.VMShell", "qubes.VMRootShell"
EXEC, EXEC_GUI, ROOT_EXEC = "qubes.VMExec", "qubes.VMExecGUI", "qubes.VMRootExec"
_WAIT = "WaitForSession"
#: qrexec's own statuses: it failed, it refused, it found no service. A command may end with the last two as well.
_BROKEN, _REFUSED, _NOT_FOUND = 125, 126, 127
_REFUSAL = "Request refused"
#: How a VM's own handler says by its statuses that the VM's owner does not accept the service.
_NOTES = {_REFUSED: NOTES[REFUSE], _NOT_FOUND: NOTES[IGNORE]}
#: Where handlers are; up to R4.0 a shell looked for them, which names the one that it has not found.
_HANDLERS = "/qubes-rpc/"


@dataclass(frozen=True, slots=True)
class Output:
    """How a command in a VM ended. *stderr* is printable ASCII, its first 4096 bytes."""

    what: str
    status: int
    untrusted_stdout: bytes
    stderr: str

    def checked(self) -> Output:
        """Return this if the status is 0. Raises ServiceFailed."""
        if self.status:
            said = printable(" / ".join(line for line in self.stderr.splitlines() if line.strip()), MESSAGE_LIMIT)
            raise ServiceFailed(
                f"{self.what}: exit status {self.status}{said and ': '}{said}", self.status, self.stderr
            )
        return self

    def as_data(self) -> dict[str, Any]:
        """Return ``status``, ``stdout`` and ``stderr`` as plain data, fit for a terminal."""
        return {"status": self.status, "stdout": printable_lines(self.untrusted_stdout), "stderr": self.stderr}


def shell(
    qrexec: Qrexec,
    vm: str,
    script: str,
    *,
    root: bool = False,
    wait_for_session: bool = False,
    stdin: bytes = b"",
    stdout_limit: int = STDOUT_LIMIT,
    timeout: float = TIMEOUT,
) -> Output:
    """Run *script* in the shell of *vm*, as its user or as *root*; *stdin* is for the script's commands.

    *timeout* in seconds is for all of it, also where more than one service has to be tried.
    The shell is bash in every VM that has it; dash, which may stand for it, reads the beginning of *stdin* itself.

    Raises InvalidValue, OutputTooLarge, else as :meth:`Qrexec.call`; the script's exit status is in the result.
    """
    script = checked_script(script)
    if root and wait_for_session:
        raise InvalidValue("wait_for_session is not valid for a shell of root")
    ways = _shells(qrexec, script, stdin, root=root, wait_for_session=wait_for_session)
    deadline = Deadline.after(checked_timeout(timeout))
    return _first(qrexec, vm, ways, root, stdout_limit, deadline, f"{ways[0].service} in {vm}")


def checked_script(script: str) -> str:
    """Return *script* without empty lines at its end if a shell can be given it. Raises InvalidValue."""
    script = script.rstrip("\n")
    if not script.strip() or "\0" in script:
        raise InvalidValue(f"'{printable(script, 60)}' is not a command (expected some text without NUL bytes)")
    return script


def execute(
    qrexec: Qrexec,
    vm: str,
    argv: Sequence[str | bytes],
    *,
    gui: bool = False,
    root: bool = False,
    stdin: bytes = b"",
    stdout_limit: int = STDOUT_LIMIT,
    timeout: float = TIMEOUT,
    name: str | None = None,
    into: Writer | None = None,
    deadline: Deadline | None = None,
) -> Output:
    """Run *argv* in *vm*; with *gui* as soon as the user's session is up, with *root* as root.

    No shell sees the arguments, or one that takes each of them, quoted, for what it is. *timeout* in seconds is for all
    services that are tried, *deadline* holds in its place. *name* is what errors call it, None: the program. With
    *into*, the output goes there as it comes and none is kept. Raises as :func:`shell`, and what *into* raises.
    """
    if gui and root:
        raise InvalidValue("wait_for_session is not valid for a command of root")
    encoded = vmexec.encode(argv)
    services = [EXEC_GUI if gui else ROOT_EXEC if root else EXEC]
    if root and qrexec.in_dom0:
        services.append(EXEC)
    words = (part.decode("utf-8", "surrogateescape") if isinstance(part, bytes) else part for part in argv)
    command = shlex.join(words)
    # Only bash knows the "--", dash takes it for the program.
    script = f"exec {'-- ' if command.startswith('-') else ''}{command}"
    ways = [_Way(service, encoded, stdin) for service in services]
    ways += _shells(qrexec, script, stdin, root=root, wait_for_session=gui)
    what = f"{printable(argv[0], 60) if name is None else name} in {vm}"
    deadline = deadline or Deadline.after(checked_timeout(timeout))
    return _first(qrexec, vm, ways, root, stdout_limit, deadline, what, into)


@dataclass(frozen=True, slots=True)
class _Way:
    """A service that can run a command, and what it is given."""

    service: str
    argument: str
    stdin: bytes

    def to_do_nothing(self) -> _Way:
        """Return the call of the same service that does nothing."""
        if self.service in (SHELL, ROOT_SHELL):
            return _Way(self.service, self.argument, b"exit\n")
        return _Way(self.service, vmexec.encode(["true"]), b"")


def _shells(qrexec: Qrexec, script: str, stdin: bytes, *, root: bool, wait_for_session: bool) -> list[_Way]:
    # The blank: bash takes a word that begins with "-" for an option, and dash knows no "--" before it.
    typed = f"eval {shlex.quote(f' {script}')}; exit\n".encode("utf-8", "surrogateescape") + stdin
    if not root:
        return [_Way(SHELL, _WAIT if wait_for_session else "", typed)]
    return [_Way(service, "", typed) for service in ((ROOT_SHELL, SHELL) if qrexec.in_dom0 else (ROOT_SHELL,))]


def _first(
    qrexec: Qrexec, vm: str, ways: Sequence[_Way], root: bool, stdout_limit: int, deadline: Deadline, what: str,
    into: Writer | None = None,
) -> Output:  # fmt: skip
    """Go the first of *ways* that *vm* has; what it has not is not tried again by the same *qrexec*."""
    rpcname.parse_target(vm, keywords=True)
    # Before R4.3 no service of a VM makes itself root, dom0 has to say it.
    user = "root" if root and qrexec.in_dom0 else None
    *others, last = ways
    for way in others:
        if (vm, way.service) not in qrexec.missing:
            try:
                return _run(qrexec, vm, way, user, stdout_limit, deadline, what, into)
            except ServiceNotFound:
                qrexec.missing.add((vm, way.service))
    try:
        return _run(qrexec, vm, last, user, stdout_limit, deadline, what, into)
    except ServiceNotFound:
        nor = "".join(f", nor {way.service}" for way in ways[1:])
        raise ServiceNotFound(f"{ways[0].service} in {vm}: there is no such service{nor}") from None


def _run(
    qrexec: Qrexec, vm: str, way: _Way, user: str | None, stdout_limit: int, deadline: Deadline, what: str,
    into: Writer | None,
) -> Output:  # fmt: skip
    output, silent = _called(qrexec, vm, way, user, stdout_limit, deadline, what, into)
    said = output.stderr.strip()
    # qrexec says nothing where there is no service. A command seldom does, but one that has run must not be run a
    # second way: so what does nothing tells which of them it was.
    not_run = output.status in (_REFUSED, _NOT_FOUND) and silent and not said
    if not_run:
        nothing, _ = _called(qrexec, vm, way.to_do_nothing(), user, stdout_limit, deadline, what, None)
        not_run = nothing.status == output.status
    if output.status in _NOTES and said.startswith(f"{way.service}: {_NOTES[output.status]}"):
        kind = CallRefused if output.status == _REFUSED else ServiceNotFound
        raise kind(f"{way.service} in {vm}: {said.removeprefix(f'{way.service}: ')}")
    if output.status == _NOT_FOUND and (not_run or f"{_HANDLERS}{way.service}" in said):
        raise ServiceNotFound(f"{way.service} in {vm}: there is no such service")
    if output.status == _REFUSED and (not_run or said.startswith(_REFUSAL)):
        raise CallRefused(f"{way.service} in {vm}: the call was refused")
    return output


def _called(
    qrexec: Qrexec, vm: str, way: _Way, user: str | None, stdout_limit: int, deadline: Deadline, what: str,
    into: Writer | None,
) -> tuple[Output, bool]:  # fmt: skip
    """Return how the command ended, and whether it had no output."""
    captured = Captured(into)
    try:
        reply = qrexec.call(Call(
            vm, way.service, way.argument, user=user, stdin=way.stdin, stdout_limit=stdout_limit, stdout_to=captured,
            deadline=deadline, accept=(0, _REFUSED, _NOT_FOUND)))  # fmt: skip
    except ServiceFailed as error:
        if error.status == _BROKEN:
            raise
        return Output(what, error.status, captured.untrusted_data, error.stderr), not captured.size
    return Output(what, reply.status, captured.untrusted_data, reply.stderr), not captured.size
