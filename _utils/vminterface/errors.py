"""The one tree of errors: every fault that this library reports is a ``VMInterfaceError``.

A class stands for one cause and inherits the built-in exception that fits too, so that callers may catch
either. The message is always one sentence for the admin: it names the VM, key or pillar path and what was
expected. Text that came from a VM is passed through :func:`printable` before it enters a message.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    from collections.abc import Iterable


def printable(untrusted_text: str | bytes, limit: int = 200) -> str:
    """Return *untrusted_text* as printable ASCII of at most *limit* characters, fit for a log or a terminal.

    Every other byte or character becomes an escape such as ``\\x1b``; a cut text ends in ``...``.
    """
    if isinstance(untrusted_text, bytes):
        untrusted_text = untrusted_text[: limit + 1].decode("latin-1")
    shown = "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape").decode("ascii") for c in untrusted_text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: max(0, limit - 3)] + "..."


def printable_value(value: object, limit: int = 60, *, quoted: bool = False) -> str:
    """Return any *value* as printable ASCII of at most *limit* characters: text as it is, or *quoted* as Python does.

    Raises nothing, whatever YAML or a caller has made of the value: a number of any size, lists of any depth.
    """
    if isinstance(value, str):
        return printable(repr(value[: limit + 1]) if quoted else value, limit)
    if isinstance(value, dict | list | tuple | set | frozenset):
        import reprlib  # here, as every short-lived program reads this file

        class Bounded(reprlib.Repr):
            def repr_int(self, x: int, level: int) -> str:
                return _number(x)

            def repr_OrderedDict(self, x: dict[object, object], level: int) -> str:
                return self.repr_dict(x, level)

        shortener = Bounded()
        shortener.maxlevel, shortener.maxstring, shortener.maxother = 3, limit, limit
        return printable(shortener.repr(value), limit)
    try:
        return printable(_number(value) if isinstance(value, int) else str(value), limit)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def _number(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more decimal digits than Python writes
        return hex(value)


class VMInterfaceError(Exception):
    """Root of all errors of this library."""

    def __str__(self) -> str:
        # KeyError would show its argument's repr, OSError may show an errno: the message alone is wanted.
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidValue(VMInterfaceError, ValueError):
    """A value has not the form that its format asks for; nothing was done with it.

    ``where`` is the place inside a composite value (``gateway``, ``dns:0``), empty for a plain one.
    """

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where

    @property
    def faults(self) -> tuple[InvalidValue, ...]:
        """Every fault that was found, each with its own ``where``."""
        return (self,)


class InvalidValues(InvalidValue):
    """Several faults of one composite value, all of them found in one pass."""

    def __init__(self, faults: Iterable[InvalidValue]) -> None:
        self._faults = tuple(fault for group in faults for fault in group.faults)
        super().__init__("\n".join(f"{f.where}: {f}" if f.where else str(f) for f in self._faults))

    @property
    def faults(self) -> tuple[InvalidValue, ...]:
        return self._faults


class DeadlineExceeded(VMInterfaceError, TimeoutError):
    """The other side did not answer in the time that it was given."""


class KeyNotFound(VMInterfaceError, KeyError):
    """The store has no such key."""


class PermissionDenied(VMInterfaceError, PermissionError):
    """The store does not let this domain read or write that key."""


class QuotaExceeded(VMInterfaceError):
    """The store refuses more nodes, watches, transactions or bytes for this domain."""


class TransactionConflict(VMInterfaceError):
    """Others kept changing what a transaction used, as often as it was tried."""


class StoreError(VMInterfaceError):
    """The store refused a request for a reason that has no class of its own (its errno name is in the text)."""


class ConnectionLost(VMInterfaceError, ConnectionError):
    """The connection could not be made, or ended before the answer came."""


class ProtocolError(VMInterfaceError):
    """Somebody broke a wire protocol: one of the two classes below."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol forbids; nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids; its connection is of no more use."""


class ControlDomain(VMInterfaceError):
    """What is for VMs was started in dom0, or asked for dom0 itself."""


class VMNotRunning(VMInterfaceError):
    """No running VM has that name."""


class VMStarting(VMNotRunning):
    """The VM is known to the XenStore, but has no QubesDB yet, which this host's VMs have."""


class VMNotFound(VMInterfaceError, LookupError):
    """This host has no VM of that name, running or not."""


class SettingRefused(VMInterfaceError):
    """The VM's agent read a setting and refused it; its reason is in the text."""


class LockUnavailable(VMInterfaceError):
    """The file by which dom0's programs keep apart cannot be used, so nothing was written."""


class Interrupted(VMInterfaceError):
    """The program was told to end before the VM had what it was given; what was written has been taken back."""


class ResourcesExhausted(VMInterfaceError):
    """This machine, or a limit of this process, leaves no memory or no further thread for the work."""

    @classmethod
    def of(cls, error: BaseException) -> ResourcesExhausted | None:
        """Return the error that stands for Python's own *error*, None where it is about something else."""
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":
            return cls("this process gets no more memory or threads (expected more: see ulimit, MemoryMax=, TasksMax=)")
        return None


class VerificationFailed(VMInterfaceError):
    """What was read back is not what was written."""


class ProgramMissing(VMInterfaceError, FileNotFoundError):
    """A program that this step needs is not installed here."""


class ProgramFailed(VMInterfaceError):
    """A program ended with a status other than 0."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        #: That status, where it is known.
        self.status = status


class CallRefused(VMInterfaceError, PermissionError):
    """The policy, or a user who was asked, does not allow this service call."""


class ServiceNotFound(VMInterfaceError, LookupError):
    """The VM has no handler for that service."""


class ServiceFailed(VMInterfaceError):
    """The service ended with a status that its caller does not accept."""

    def __init__(self, message: str, status: int, stderr: str = "") -> None:
        super().__init__(message)
        #: 1..255; 128+n: ended by signal n; 125: qrexec itself failed.
        self.status = status
        #: What the handler said, printable ASCII.
        self.stderr = stderr


class OutputTooLarge(VMInterfaceError):
    """The other side sent more than it may; it was cut off and what had come is dropped."""
