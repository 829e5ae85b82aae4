"""Call Qubes RPC services in VMs, by the programs that Qubes has for that.

dom0 runs ``qrexec-client -d VM 'USER:QUBESRPC SERVICE+ARGUMENT dom0'``; everybody else
``qrexec-client-vm VM SERVICE+ARGUMENT``, which asks dom0's policy. Source of the forms and of the exit status:
Qubes core-qrexec (``daemon/qrexec-client.c``, ``agent/qrexec-client-vm.c``, ``libqrexec/qrexec.h``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from vminterface.channel import process, qrexec_daemon
from vminterface.channel.process import Input, Progress, Writer
from vminterface.deadline import Deadline
from vminterface.errors import (
    CallRefused,
    InvalidValue,
    ProgramFailed,
    ProgramMissing,
    ServiceFailed,
    ServiceNotFound,
    VMInterfaceError,
    VMNotRunning,
    printable,
)
from vminterface.values import rpcname
from vminterface.values.vmname import parse_default_user, refuse_dom0

#: Bytes of an answer that are taken unless the call says otherwise.
STDOUT_LIMIT = 1 << 20

#: Seconds that a call may take unless it says otherwise.
TIMEOUT = 60.0

#: Seconds that a call may be given: a week.
LONGEST = 7 * 86400

#: Calls that are made at a time unless the admin says otherwise.
PARALLEL = 8

#: The environment's variables by which an admin says otherwise, for every call of this machine.
PROGRAM_VARIABLE = "VMINTERFACE_QREXEC"
CONNECT_TIMEOUT_VARIABLE = "VMINTERFACE_QREXEC_CONNECT_TIMEOUT"
PARALLEL_VARIABLE = "VMINTERFACE_QREXEC_PARALLEL"

_DOM0_PROGRAM = "qrexec-client"
_VM_PROGRAM = "qrexec-client-vm"
#: Where Qubes puts them when they are not on the PATH.
_FOLDERS = ("/usr/bin", "/usr/lib/qubes")

#: Stands for the user whom the VM's own setting names.
_DEFAULT_USER = "DEFAULT"

_REFUSED = 126
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service answered. *stderr* is printable ASCII in lines, its first 4096 bytes."""

    untrusted_stdout: bytes
    stderr: str
    status: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call to be made; the fields are those of :meth:`Qrexec.call`."""

    vm: str
    service: str
    argument: str = ""
    user: str | None = None
    stdin: Input = b""
    stdout_limit: int = STDOUT_LIMIT
    stdout_to: Writer | None = None
    timeout: float = TIMEOUT
    progress: Progress | None = None
    early_answer: bool = False
    accept: Container[int] = (0,)
    deadline: Deadline | None = None

    def __str__(self) -> str:
        return f"{self.service} in {self.vm}"


class Qrexec:
    """The way to services in VMs. An object may be used by many threads.

    *program* is the path of the program to run; *in_dom0* says which of the two programs it is, None: told by its
    name. *connect_timeout* (whole seconds, dom0 only) is how long the VM has to open the data channel, 10 s unless
    given. *parallel* is how many calls are made at a time where there are many. What is not given is what the
    environment says; else the program is that on the PATH or where Qubes puts it.

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
            raise InvalidValue(f"{parallel} calls at a time are too few (at least 1)")
        self._program = program or os.environ.get(PROGRAM_VARIABLE)
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
        program = self._program or _installed()
        if self._in_dom0 is not None:
            return program, self._in_dom0
        return program, not os.path.basename(program).endswith("-vm")

    def call(
        self,
        vm: str,
        service: str,
        argument: str = "",
        *,
        user: str | None = None,
        stdin: Input = b"",
        stdout_limit: int = STDOUT_LIMIT,
        stdout_to: Writer | None = None,
        timeout: float = TIMEOUT,
        progress: Progress | None = None,
        early_answer: bool = False,
        accept: Container[int] = (0,),
        deadline: Deadline | None = None,
    ) -> Answer:
        """Run *service* in *vm* and return its answer.

        *user* runs it (dom0 only), None: the VM's default user. *stdin* is bytes, a binary file, one with bytes before
        it, or pieces, of which None means: ask again when more output has come. *stdout_limit* in bytes bounds the
        output also when it is written to *stdout_to* instead of being kept. *timeout* in seconds is for the whole call;
        what blocks inside *stdin*'s pieces, *stdout_to* or *progress* is not under it. *progress* is called with the
        bytes sent and received. *early_answer*: stop sending as soon as the service says something. *accept* holds the
        exit statuses that count as an answer. *deadline* holds in place of *timeout*; *stdout_to* may shorten it.

        Raises InvalidValue (before anything runs), ProgramMissing, CallRefused, ServiceNotFound, VMNotRunning,
        ServiceFailed, OutputTooLarge, DeadlineExceeded, ProgramFailed.
        """
        return self._make(
            Call(
                vm, service, argument, user, stdin, stdout_limit, stdout_to, timeout, progress, early_answer, accept,
                deadline,
            )
        )  # fmt: skip

    def call_many(self, calls: Iterable[Call]) -> list[Answer | VMInterfaceError]:
        """Make all *calls*, some at a time, and return their answers or errors in the same order.

        A call's time begins when it is started, so that one which hangs costs nobody else's time.
        """
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="qrexec") as pool:
            futures = [pool.submit(self._make, call) for call in calls]
            try:
                return [_outcome(future) for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _make(self, call: Call) -> Answer:
        argv, in_dom0 = self._command_line(call)
        ended = process.run(
            argv,
            str(call),
            call.deadline or Deadline.after(call.timeout),
            stdin=call.stdin,
            stdout_limit=call.stdout_limit,
            stdout_to=call.stdout_to,
            early_answer=call.early_answer,
            progress=call.progress,
        )
        stderr = "\n".join(printable(line, process.STDERR_LIMIT) for line in ended.untrusted_stderr.splitlines())
        if ended.status in call.accept:
            return Answer(ended.untrusted_stdout, stderr, ended.status)
        raise _fault(call, ended.status, stderr, in_dom0 and not ended.untrusted_stdout)

    def _command_line(self, call: Call) -> tuple[list[str], bool]:
        """Return what to run for *call*, and whether that is dom0's program."""
        descriptor = rpcname.descriptor(call.service, call.argument)
        user = parse_default_user(_DEFAULT_USER if call.user is None else call.user)
        rpcname.parse_target(call.vm, keywords=True)
        checked_timeout(call.timeout)
        program, in_dom0 = self._caller()
        if not in_dom0:
            if call.user is not None:
                raise InvalidValue(f"{call}: only dom0 can choose the user, here the policy does", "user")
            return [program, call.vm, descriptor], False
        refuse_dom0(call.vm)
        vm = rpcname.parse_target(call.vm)
        wait = [] if self._connect_timeout is None else ["-w", str(self._connect_timeout)]
        return [program, "-d", vm, *wait, f"{user}:QUBESRPC {descriptor} dom0"], True


def checked_timeout(seconds: object) -> float:
    """Return *seconds* if a call may be given so many: a number above 0, LONGEST at most. Raises InvalidValue."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST:
        shown = printable(str(seconds), 40)
        raise InvalidValue(f"expected seconds, more than 0 and at most {LONGEST}, found '{shown}'", "timeout")
    return seconds


def _from_environment(variable: str) -> int | None:
    text = os.environ.get(variable)
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 4 or not int(text):
        raise InvalidValue(f"{variable}: expected a whole number from 1 to 9999, found '{printable(text, 40)}'")
    return int(text)


def _installed() -> str:
    """Return the path of the program to use on this machine; where both are, dom0's."""
    for name in (_DOM0_PROGRAM, _VM_PROGRAM):
        found = shutil.which(name) or next(
            (path for folder in _FOLDERS if os.access(path := f"{folder}/{name}", os.X_OK)), None
        )
        if found:
            return found
    raise ProgramMissing(f"neither {_DOM0_PROGRAM} nor {_VM_PROGRAM} is installed here, so no service can be called")


def _fault(call: Call, status: int, stderr: str, may_be_client: bool) -> VMInterfaceError:
    """Return the error that stands for a *status* which is no answer."""
    said = f": {printable(' / '.join(line for line in stderr.splitlines() if line.strip()))}" if stderr.strip() else ""
    if status < 0:
        return ProgramFailed(f"{call}: the calling program was ended by signal {-status}{said}")
    if status == _REFUSED:
        return CallRefused(f"{call}: the call was refused{said}")
    if status == _NOT_FOUND:
        return ServiceNotFound(f"{call}: there is no such service{said}")
    if may_be_client and qrexec_daemon.is_missing(call.vm, status, stderr):
        return VMNotRunning(f"{call}: the VM is not running{said}")
    return ServiceFailed(f"{call}: exit status {status}{said}", status, stderr)


def _outcome(future: Future[Answer]) -> Answer | VMInterfaceError:
    try:
        return future.result()
    except VMInterfaceError as error:
        return error
