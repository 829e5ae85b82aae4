"""The one tree of errors: every error that this library reports is a ``VMInterfaceError``.

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
    # Nearly every text is; a thousand hosts have a quarter of a million.
    fits = isinstance(untrusted_text, str) and len(untrusted_text) <= limit
    if fits and untrusted_text.isascii() and untrusted_text.isprintable():  # type: ignore[union-attr]
        return str(untrusted_text)
    shown = "".join(_escaped(untrusted_text[: limit + 1]))
    return shown if len(shown) <= limit else shown[: max(0, limit - 3)] + "..."


def printable_lines(untrusted_text: str | bytes, limit: int = 4096) -> str:
    """Return the lines of *untrusted_text*, each as of :func:`printable`."""
    return "\n".join(printable(line, limit) for line in untrusted_text.splitlines())


def printable_path(untrusted_path: str | bytes, limit: int = 200) -> str:
    """Return a path as :func:`printable` does, but cut at its beginning: ``.../folder/file``.

    The file name identifies the file, so the last parts are kept, complete if there is room.
    """
    pieces = _escaped(untrusted_path[-limit - 1 :])
    if sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    room = limit - 3
    kept = len(pieces)
    while kept and len(pieces[kept - 1]) <= room:
        kept -= 1
        room -= len(pieces[kept])
    end = "".join(pieces[kept:])
    at = end.find("/")
    return f"...{end[at:] if 0 <= at < len(end) - 1 else end}"


def _escaped(untrusted_text: str | bytes) -> list[str]:
    """Return each byte or character as printable ASCII."""
    text = untrusted_text.decode("latin-1") if isinstance(untrusted_text, bytes) else untrusted_text
    return [c if " " <= c <= "~" else _escape(c) for c in text]


def _escape(character: str) -> str:
    """Return the escape of *character*; a byte that was no UTF-8 (``surrogateescape``) is shown as the byte it was."""
    if "\udc80" <= character <= "\udcff":
        character = chr(ord(character) & 0xFF)
    return character.encode("unicode_escape").decode("ascii")


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

            def repr1(self, x: object, level: int) -> str:
                # Whatever class it is of: Salt has some that show nothing of what they hold.
                shown = getattr(self, f"repr_{kind_of(x)}", None)
                return str(shown(x, level)) if shown else super().repr1(x, level)

        shortener = Bounded()
        shortener.maxlevel, shortener.maxstring, shortener.maxother = 3, limit, limit
        return printable(shortener.repr(value), limit)
    try:
        return printable(_number(value) if isinstance(value, int) else str(value), limit)
    except (ValueError, RecursionError):
        return f"a {kind_of(value)}"


#: The classes that YAML makes, a class before those that it is one of.
_KINDS = (str, bytes, bool, int, float, dict, list, tuple, set, frozenset)


def kind_of(value: object) -> str:
    """Return the name of *value*'s class as YAML knows it: ``list`` for a list of any class."""
    return next((known.__name__ for known in _KINDS if isinstance(value, known)), type(value).__name__)


def _number(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more decimal digits than Python writes
        return hex(value)


def digits(value: int) -> str:
    """Return a whole number in decimal digits. Raises InvalidValue for one with more digits than Python writes."""
    try:
        return str(value)
    except ValueError:
        raise InvalidValue("the number has too many digits (expected at most 4300)") from None


class VMInterfaceError(Exception):
    """Root of all errors of this library."""

    def __str__(self) -> str:
        # KeyError would show its argument's repr, OSError may show an errno: the message alone is wanted.
        return str(self.args[0]) if self.args else type(self).__name__


class InvalidValue(VMInterfaceError, ValueError):
    """A value is not valid in its format. Nothing was done with it.

    ``where`` is the place inside a composite value (``gateway``, ``dns:0``), empty for a plain one.
    """

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where

    @property
    def errors(self) -> tuple[InvalidValue, ...]:
        """All errors, each with its own ``where``."""
        return (self,)


class InvalidValues(InvalidValue):
    """Several errors of one composite value, collected in one pass."""

    def __init__(self, errors: Iterable[InvalidValue]) -> None:
        self._errors = tuple(error for group in errors for error in group.errors)
        super().__init__("\n".join(f"{f.where}: {f}" if f.where else str(f) for f in self._errors))

    @property
    def errors(self) -> tuple[InvalidValue, ...]:
        return self._errors


class DeadlineExceeded(VMInterfaceError, TimeoutError):
    """A program or VM did not reply before the deadline."""


class KeyNotFound(VMInterfaceError, KeyError):
    """The key does not exist in the store."""


class PermissionDenied(VMInterfaceError, PermissionError):
    """The store does not allow this domain to read or write the key."""


class QuotaExceeded(VMInterfaceError):
    """The store refuses more nodes, watches, transactions or bytes for this domain."""


class TransactionConflict(VMInterfaceError):
    """Other programs changed the keys of a transaction at every attempt."""


class StoreError(VMInterfaceError):
    """The store refused a request for a reason that has no class of its own (its errno name is in the text)."""


class ConnectionLost(VMInterfaceError, ConnectionError):
    """The connection failed, or ended before the reply."""


class ProtocolError(VMInterfaceError):
    """A message violates the wire protocol."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the protocol forbids. Nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids. The connection was closed."""


class ControlDomain(VMInterfaceError):
    """A program for VMs was started in dom0, or a request names dom0 itself."""


class VMNotRunning(VMInterfaceError):
    """No running VM has that name."""


class VMStarting(VMNotRunning):
    """The VM is starting: the XenStore has it, but its QubesDB does not exist yet."""


class VMNotFound(VMInterfaceError, LookupError):
    """This host has no VM of that name, running or not."""


class SettingRefused(VMInterfaceError):
    """The VM's agent read a setting and refused it; its reason is in the text."""


class LockUnavailable(VMInterfaceError):
    """The lock file of dom0's programs cannot be used. Nothing was written."""


class Interrupted(VMInterfaceError):
    """A signal stopped the program before the VM had its settings. What was written was restored."""


class ResourcesExhausted(VMInterfaceError):
    """The machine, or a limit of this process, allows no more memory or threads."""

    @classmethod
    def of(cls, error: BaseException) -> ResourcesExhausted | None:
        """Return the error that stands for Python's own *error*, None where it is about something else."""
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":
            return cls("this process gets no more memory or threads (expected more: see ulimit, MemoryMax=, TasksMax=)")
        return None


class VerificationFailed(VMInterfaceError):
    """The value that was read back differs from the one that was written."""


class ProgramMissing(VMInterfaceError, FileNotFoundError):
    """A required program is not installed."""


class ProgramFailed(VMInterfaceError):
    """A program ended with a status other than 0."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        #: That status, where it is known.
        self.status = status


class CallRefused(VMInterfaceError, PermissionError):
    """The qrexec policy, the user or the VM's owner does not allow the service call."""


class ServiceNotFound(VMInterfaceError, LookupError):
    """The VM has no handler for that service."""


class ServiceFailed(VMInterfaceError):
    """The service ended with an exit status that means failure."""

    def __init__(self, message: str, status: int, stderr: str = "") -> None:
        super().__init__(message)
        #: 1..255; 128+n: ended by signal n; 125: qrexec itself failed.
        self.status = status
        #: The handler's standard error, printable ASCII.
        self.stderr = stderr


class OutputTooLarge(VMInterfaceError):
    """A program or VM sent more than the limit. The data was discarded."""
