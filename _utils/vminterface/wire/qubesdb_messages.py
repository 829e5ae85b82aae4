"""QubesDB messages: their types, paths and values, and the events that stand for them.

The numbers and limits are those of ``include/qubesdb.h`` of qubes-core-qubesdb, as its daemon and library keep to
them. Everything here is a pure function of its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import lru_cache
from struct import Struct

from vminterface.errors import printable
from vminterface.regex import regex

#: Type, path with its terminator, padding, length of the value.
HEADER = Struct("<B64s3xI")
#: Bytes of a path, without its terminator.
PATH_MAX = 63
#: Bytes of a value. The library lets 3072 pass, the daemon refuses them.
VALUE_MAX = 3071


class Command(IntEnum):
    """What a client asks for: the ``type`` byte of a header."""

    READ = 0
    WRITE = 1
    MULTIREAD = 2
    LIST = 3
    RM = 4
    WATCH = 5
    UNWATCH = 6


class Response(IntEnum):
    """What a daemon sends."""

    OK = 7
    ERROR_NOENT = 8
    ERROR = 9
    READ = 10
    MULTIREAD = 11
    LIST = 12
    WATCH = 13


#: Commands whose answer is a series of entries and an end.
SERIES = {Command.MULTIREAD: Response.MULTIREAD, Command.LIST: Response.LIST}
#: Commands that a daemon may answer with "no such entry".
MAY_MISS = frozenset({Command.READ, Command.RM, Command.UNWATCH})


class Malformed(ValueError):
    """A message does not match the form of its type; the text names the error."""


class Sentinel(Enum):
    """Results of ``next_event`` that are not events."""

    NEED_DATA = "need data"


NEED_DATA = Sentinel.NEED_DATA

#: A request that is not answered yet: command, path, and the path as bytes with its terminator.
Asked = tuple[Command, str, bytes]

# The three events of which there are many are not frozen, which would take three times as long to make each.


@dataclass(slots=True)
class Request:
    """A client asks. *value* is WRITE's alone.

    A *path* that ends with ``/`` means what is below: in RM, and in WATCH, where ``/`` is everything. MULTIREAD and
    LIST match every path that starts with *path*, ``/a`` also ``/ab``.
    """

    command: Command
    path: str
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """A well-framed request that the daemon answers with ERROR, and where *closes*, by ending the connection."""

    path: str
    reason: str
    closes: bool = False


@dataclass(slots=True)
class Reply:
    """A good answer: READ's *value*, the end of a series, or plain OK. *path* is the request's."""

    command: Command
    path: str
    value: bytes = b""


@dataclass(slots=True)
class Entry:
    """One of a series: a key from MULTIREAD (with its *value*) or LIST."""

    command: Command
    path: str
    value: bytes = b""


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A refusal; *missing*: the entry does not exist. *path* is the request's."""

    path: str
    missing: bool = False


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """*path* was written or removed; one that ends with ``/`` means all that was below it was removed."""

    path: str


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The peer ended the stream between two messages."""


Event = Request | BadRequest | Reply | Entry | ErrorReply | WatchEvent | ConnectionClosed

#: No hyphen comes first. Doubled slashes are the daemon's to accept, and it does.
_CHARACTERS = regex(rb"(?:[A-Za-z0-9_.:/@][A-Za-z0-9_.:/@-]*)?")
_PATH = regex(rb"/[A-Za-z0-9_.:/@-]*")
#: What the path's field of a message begins with that has a key's.
KEY_FIELD = regex(rb"(/[A-Za-z0-9_.:/@-]*[A-Za-z0-9_.:@-])\0")


@lru_cache(maxsize=8192)
def encode_path(command: Command, path: str) -> bytes:
    """Return *path* as bytes. Raises :class:`Malformed` for a path that *command* cannot have."""
    try:
        data = path.encode("ascii")
    except UnicodeEncodeError:
        raise Malformed(
            f"'{printable(path)}' is not a valid path (expected ASCII letters, digits and - _ . : / @)"
        ) from None
    if not data and command in (Command.MULTIREAD, Command.LIST, Command.WATCH, Command.UNWATCH):
        return data
    if not data.startswith(b"/"):
        raise Malformed(f"'{printable(path)}' is not a valid path (expected one that starts with /)")
    if not _PATH.fullmatch(data):
        raise Malformed(f"'{printable(path)}' is not a valid path (expected letters, digits and - _ . : / @)")
    if len(data) > PATH_MAX:
        raise Malformed(f"'{printable(path)}': path of {len(data)} bytes (expected at most {PATH_MAX})")
    if command in (Command.READ, Command.WRITE) and data.endswith(b"/"):
        raise Malformed(f"'{printable(path)}' is not a valid path (expected one that does not end with /)")
    return data


@lru_cache(maxsize=8192)
def encode_request(command: Command, path: str) -> tuple[bytes, Asked]:
    """Return a request without a value, and what its reply must match. Raises what :func:`encode_path` does."""
    data = encode_path(command, path)
    return HEADER.pack(command, data, 0), (command, path, data + b"\0")


def check_value(path: str, value: bytes) -> None:
    """Raise :class:`Malformed` unless *value* can be the value of a key."""
    if len(value) > VALUE_MAX:
        raise Malformed(f"'{printable(path)}': value of {len(value)} bytes (expected at most {VALUE_MAX})")
    if 0 in value:  # found in a tenth of the time of b"\0"
        raise Malformed(f"'{printable(path)}': value with a NUL byte (a key cannot hold one)")


def encode_reply(event: Event) -> bytes:
    """Return the message in which a daemon sends *event*. Raises :class:`Malformed`, UnicodeEncodeError."""
    match event:
        case ErrorReply():
            # It echoes what was asked, be it a path or not.
            kind = Response.ERROR_NOENT if event.missing else Response.ERROR
            return HEADER.pack(kind, event.path.encode("latin-1")[: PATH_MAX + 1], 0)
        case WatchEvent():
            return HEADER.pack(Response.WATCH, encode_path(Command.RM, event.path), 0)
        case Entry(Command.MULTIREAD) | Entry(Command.LIST, value=b""):
            check_value(event.path, event.value)
            path = encode_path(Command.WRITE, event.path)
            return HEADER.pack(SERIES[event.command], path, len(event.value)) + event.value
        case Reply(Command.READ):
            check_value(event.path, event.value)
            return HEADER.pack(Response.READ, event.path.encode("ascii"), len(event.value)) + event.value
        case Reply(Command.MULTIREAD | Command.LIST, value=b""):
            # The end: the asked path with its first byte cleared.
            return HEADER.pack(SERIES[event.command], b"\0" + event.path.encode("ascii")[1:], 0)
        case Reply(value=b""):
            return HEADER.pack(Response.OK, event.path.encode("ascii"), 0)
    raise Malformed(f"a daemon does not send {printable(repr(event), 200)}")


def is_key_path(path: bytes) -> bool:
    """Whether a daemon can hold a key at *path* (without terminator)."""
    return _PATH.fullmatch(path) is not None and not path.endswith(b"/")


def is_changed_path(path: bytes) -> bool:
    """Whether a daemon can send an event for *path* (without terminator), or of all that is below it."""
    return _PATH.fullmatch(path) is not None


def has_good_characters(path: bytes) -> bool:
    """Whether a daemon takes *path* (without terminator) at all."""
    return _CHARACTERS.fullmatch(path) is not None
