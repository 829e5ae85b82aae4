"""Call Qubes RPC services in VMs, by the programs that Qubes has for that.

dom0 runs ``qrexec-client -d VM 'USER:QUBESRPC SERVICE+ARGUMENT dom0'``; everybody else
``qrexec-client-vm VM SERVICE+ARGUMENT``, which asks dom0's policy. Source of the forms and of the exit status:
Qubes core-qrexec (``daemon/qrexec-client.c``, ``agent/qrexec-client-vm.c``, ``libqrexec/qrexec.h``).
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vminterface.channel import leaving, process
from vminterface.channel.qrexec import daemon
from vminterface.channel.qrexec.program import program as program_here
from vminterface.deadline import Deadline
from vminterface.errors import (
    CallRefused,
    InvalidValue,
    ProgramFailed,
    ServiceFailed,
    ServiceNotFound,
    VMInterfaceError,
    VMNotRunning,
    printable,
    printable_lines,
)
from vminterface.values import rpcname
from vminterface.values.vmname import parse_default_user, refuse_dom0

if TYPE_CHECKING:
    from concurrent.futures import Future

#: Bytes of an answer that are taken unless the call says otherwise.
STDOUT_LIMIT = 1 << 20

#: Seconds that a call may take unless it says otherwise.
TIMEOUT = 60.0

#: Seconds that a call may be given: a week.
LONGEST = 7 * 86400

#: Calls that are made at a time unless the admin says otherwise.
PARALLEL = 8

#: The environment's variables by which an admin says otherwise, for every call of this machine.
CONNECT_TIMEOUT_VARIABLE = "VMINTERFACE_QREXEC_CONNECT_TIMEOUT"
PARALLEL_VARIABLE = "VMINTERFACE_QREXEC_PARALLEL"

#: Stands for the user whom the VM's own setting names.
_DEFAULT_USER = "DEFAULT"

_REFUSED = 126
_NOT_FOUND = 127

#: Characters of what a service says that an error repeats: a file's name and the reason.
MESSAGE_LIMIT = 400


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered. *stderr* is printable ASCII in lines, its first 4096 bytes."""

    untrusted_stdout: bytes
    stderr: str
    status: int


@dataclass(frozen=True, slots=True)
class Call(process.Conversation):
    """One call to be made: of *service* in *vm*.

    What is sent is bytes, a binary file, one with bytes before it, or pieces, of which None means: ask again when more
    output has come. What blocks inside the pieces, ``stdout_to`` or ``progress`` is not under the deadline.
    """

    vm: str
    service: str
    argument: str = ""
    stdout_limit: int = field(default=STDOUT_LIMIT, kw_only=True)
    #: Who runs the service (dom0 only); None: the VM's default user.
    user: str | None = field(default=None, kw_only=True)
    #: Exit statuses that count as an answer.
    accept: Container[int] = field(default=(0,), kw_only=True)
    #: Seconds for the whole call.
    timeout: float = field(default=TIMEOUT, kw_only=True)
    #: Holds in place of the timeout; ``stdout_to`` may shorten it.
    deadline: Deadline | None = field(default=None, kw_only=True)

    def __str__(self) -> str:
        return f"{self.service} in {self.vm}"


class Qrexec:
    """The way to services in VMs. An object may be used by many threads.

    *program* is the path of the program to run; *in_dom0* selects which of the two programs it is, None: derived from
    its name. *connect_timeout* (whole seconds, dom0 only) is how long the VM has to open the data channel, 10 s unless
    given. *parallel* is how many calls are made at a time where there are many. What is not given is what the
    environment names; otherwise the program is that on the PATH or where Qubes puts it.

    Raises InvalidValue.
    """

    def __init__(
        self,
        program: str | None = None,
        *,
        in_dom0: bool | None = None,
        connect_timeout: int | None = None,
        parallel: int | None = None,
    ) -> None:
        if parallel is not None and parallel < 1:
            raise InvalidValue(f"{parallel} calls at a time are too few (expected at least 1)")
        self._program = program
        self._in_dom0 = in_dom0
        self._connect_timeout = connect_timeout or _from_environment(CONNECT_TIMEOUT_VARIABLE)
        self.parallel = parallel or _from_environment(PARALLEL_VARIABLE) or PARALLEL
        #: VM and service, for callers who know another way and do not want to try this one again.
        self.missing: set[tuple[str, str]] = set()

    @property
    def in_dom0(self) -> bool:
        """Whether calls are dom0's own, which alone can choose the user. Raises ProgramMissing."""
        return self._caller()[1]

    def _caller(self) -> tuple[str, bool]:
        """Return the program to run, and whether it is dom0's."""
        program = self._program or program_here()
        if self._in_dom0 is not None:
            return program, self._in_dom0
        return program, not os.path.basename(program).endswith("-vm")

    def call(self, call: Call) -> Reply:
        """Make *call* and return its answer.

        Raises InvalidValue (before anything runs), ProgramMissing, CallRefused, ServiceNotFound, VMNotRunning,
        ServiceFailed, OutputTooLarge, DeadlineExceeded, ProgramFailed.
        """
        argv, in_dom0 = self._command_line(call)
        ended = process.run(argv, str(call), call.deadline or Deadline.after(call.timeout), call)
        stderr = _shown(ended.untrusted_stderr)
        if ended.status in call.accept:
            return Reply(ended.untrusted_stdout, stderr, ended.status)
        raise _error(call, ended.status, stderr, in_dom0 and not ended.untrusted_stdout)

    def launch(self, call: Call, *, stdin: bytes = b"") -> bool:
        """Start the service of *call* and return whether it still runs after the call's time, left to itself.

        It is for services that last as long as somebody works with what they have started: the program that calls goes
        on too, since its end would take the streams from a service that writes to them. The service is given *stdin*
        alone, and its output is dropped.

        Raises as :meth:`call` where the service ends before, but for OutputTooLarge and DeadlineExceeded.
        """
        argv, in_dom0 = self._command_line(call)
        ended = leaving.leave(argv, str(call), call.timeout, stdin=stdin)
        if ended is not None and ended.status:
            raise _error(call, ended.status, _shown(ended.untrusted_stderr), in_dom0)
        return ended is None

    def call_many(self, calls: Iterable[Call]) -> list[Reply | VMInterfaceError]:
        """Make all *calls*, some at a time, and return their answers or errors in the same order.

        A call's time begins when it is started, so that one which hangs costs nobody else's time.
        """
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(self.parallel, thread_name_prefix="qrexec") as pool:
            futures = [pool.submit(self.call, call) for call in calls]
            try:
                return [_outcome(future) for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _command_line(self, call: Call) -> tuple[list[str], bool]:
        """Return what to run for *call*, and whether that is dom0's program."""
        descriptor = rpcname.descriptor(call.service, call.argument)
        user = parse_default_user(_DEFAULT_USER if call.user is None else call.user)
        rpcname.parse_target(call.vm, keywords=True)
        checked_timeout(call.timeout)
        program, in_dom0 = self._caller()
        if not in_dom0:
            if call.user is not None:
                raise InvalidValue(f"{call}: only dom0 can choose the user (in a VM the policy does)", "user")
            return [program, call.vm, descriptor], False
        refuse_dom0(call.vm)
        vm = rpcname.parse_target(call.vm)
        wait = [] if self._connect_timeout is None else ["-w", str(self._connect_timeout)]
        return [program, "-d", vm, *wait, f"{user}:QUBESRPC {descriptor} dom0"], True


def checked_timeout(seconds: object) -> float:
    """Return *seconds* if a call may be given so many: a number above 0, LONGEST at most. Raises InvalidValue."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        shown = printable(str(seconds), 40)
        raise InvalidValue(f"'{shown}' is not valid (expected seconds, more than 0 and at most {LONGEST})", "timeout")
    return seconds


def _shown(untrusted_stderr: bytes) -> str:
    return printable_lines(untrusted_stderr, process.STDERR_LIMIT)


def _from_environment(variable: str) -> int | None:
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not int(text):
        raise InvalidValue(f"{variable}: '{printable(text, 40)}' is not valid (expected a whole number from 1 to 9999)")
    return int(text)


def _error(call: Call, status: int, stderr: str, may_be_client: bool) -> VMInterfaceError:
    """Return the error that stands for a *status* which is not a reply."""
    said = printable(" / ".join(line for line in stderr.splitlines() if line.strip()), MESSAGE_LIMIT)
    said = said and f": {said}"
    if status < 0:
        return ProgramFailed(f"{call}: the calling program was ended by signal {-status}{said}")
    if status == _REFUSED:
        return CallRefused(f"{call}: the call was refused{said}")
    if status == _NOT_FOUND:
        return ServiceNotFound(f"{call}: there is no such service{said}")
    if may_be_client and daemon.is_missing(call.vm, status, stderr):
        return VMNotRunning(f"{call}: the VM is not running{said}")
    return ServiceFailed(f"{call}: exit status {status}{said}", status, stderr)


def _outcome(future: Future[Reply]) -> Reply | VMInterfaceError:
    try:
        return future.result()
    except VMInterfaceError as error:
        return error
