"""XenStore messages: operations, paths and the form of each operation's payload.

The numbers and limits are those of ``xen/include/public/io/xs_wire.h``, the payloads those of Xen's
``docs/misc/xenstore.txt``. Everything here is a pure function of its arguments.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import Final

from vminterface.errors import printable
from vminterface.regex import regex
from vminterface.value import Value

#: Bytes of payload that one message may have (XENSTORE_PAYLOAD_MAX).
PAYLOAD_MAX = 4096
#: The same through Linux's ``/dev/xen/xenbus``, which takes header and payload in 4096 bytes together.
DEVICE_PAYLOAD_MAX = 4080
#: Bytes and names of a directory that are taken in one message: oxenstored sends them all, however many there are.
LISTING_MAX = 1 << 20
NAMES_MAX = 100_000
#: Bytes of a longer one that are passed over, so that it costs its own request alone.
PASSED_OVER_MAX = 64 << 20
#: The errno name that stands for a directory with more than that; a daemon does not send it.
TOO_MANY_NAMES = "EMSGSIZE"
#: Bytes of an absolute and of a relative path, without its terminator.
ABSOLUTE_PATH_MAX = 3072
RELATIVE_PATH_MAX = 2048


class Op(IntEnum):
    """Operations: the ``type`` word of a header (``enum xsd_sockmsg_type``)."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class Malformed(ValueError):
    """A payload or request does not match the form of its operation; the text names the error."""


class Shape(Value):
    """What follows an operation's header: whether a path, then how many strings and of which form."""

    __slots__ = ("arguments", "path", "pattern", "special")

    def __init__(
        self,
        path: bool,
        arguments: tuple[int, int] = (0, 0),
        pattern: re.Pattern[str] | None = None,
        special: bool = False,
    ) -> None:
        self.path: Final = path
        self.arguments: Final = arguments
        self.pattern: Final = pattern
        #: Whether the path may be one of the special ones, ``@introduceDomain`` or ``@releaseDomain``.
        self.special: Final = special


_ANY_COUNT = PAYLOAD_MAX
_NUMBER = regex(r"[0-9]{1,20}")
_PERMISSION = regex(r"[nrwb][0-9]{1,5}")
_END = regex(r"[TF]")
_EXPECTED = {_NUMBER: "a number", _PERMISSION: "n, r, w or b, and a domid", _END: "T or F"}

#: WRITE's value is no string (it has no terminator) and is not part of its shape.
SHAPES: dict[Op, Shape] = {
    Op.CONTROL: Shape(False, (1, _ANY_COUNT)),
    Op.DIRECTORY: Shape(True),
    Op.READ: Shape(True),
    Op.GET_PERMS: Shape(True, special=True),
    Op.WATCH: Shape(True, (1, 1), special=True),
    Op.UNWATCH: Shape(True, (1, 1), special=True),
    Op.TRANSACTION_START: Shape(False),
    Op.TRANSACTION_END: Shape(False, (1, 1), _END),
    Op.INTRODUCE: Shape(False, (3, 3), _NUMBER),
    Op.RELEASE: Shape(False, (1, 1), _NUMBER),
    Op.GET_DOMAIN_PATH: Shape(False, (1, 1), _NUMBER),
    Op.WRITE: Shape(True),
    Op.MKDIR: Shape(True),
    Op.RM: Shape(True),
    Op.SET_PERMS: Shape(True, (1, _ANY_COUNT), _PERMISSION, special=True),
    Op.IS_DOMAIN_INTRODUCED: Shape(False, (1, 1), _NUMBER),
    Op.RESUME: Shape(False, (1, 1), _NUMBER),
    Op.SET_TARGET: Shape(False, (2, 2), _NUMBER),
    Op.RESET_WATCHES: Shape(False),
    Op.DIRECTORY_PART: Shape(True, (1, 1), _NUMBER),
}

#: Operations on one ordinary path that say nothing else.
PLAIN = frozenset({Op.DIRECTORY, Op.READ, Op.MKDIR, Op.RM})

#: Operations whose only good answer is ``OK``.
ACKNOWLEDGED = frozenset(
    {
        Op.WATCH, Op.UNWATCH, Op.TRANSACTION_END, Op.INTRODUCE, Op.RELEASE, Op.WRITE, Op.MKDIR, Op.RM,
        Op.SET_PERMS, Op.RESUME, Op.SET_TARGET, Op.RESET_WATCHES,
    }
)  # fmt: skip

#: Operations whose answer is bytes as they are.
RAW = frozenset({Op.READ, Op.CONTROL})

_PATH = regex(r"/|/?[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@-]+)*")
_SPECIAL = regex(r"@[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@-]+)*")
_NAME = regex(r"[A-Za-z0-9_@-]+")
_NAMES = regex(rb"(?:[A-Za-z0-9_@-]++\0)*+")
_HOME = regex(r"/local/domain/[0-9]{1,5}/")
_ERRNO = regex(rb"E[A-Z0-9]{1,30}\0")


def check_path(path: str, special: bool = False) -> None:
    """Raise :class:`Malformed` unless *path* is a path: absolute, relative or, if allowed, *special*."""
    if path.startswith("@"):
        if not special:
            raise Malformed(f"special path '{printable(path)}' can only be watched")
        if not _SPECIAL.fullmatch(path):
            raise Malformed(f"'{printable(path)}' is not a XenStore path")
        return
    if not _PATH.fullmatch(path):
        raise Malformed(
            f"'{printable(path)}' is not a valid XenStore path (expected letters, digits, '-', '_' and '@' between"
            f" single '/')"
        )
    home = _HOME.match(path)
    relative = len(path) - home.end() if home else len(path)
    limit = RELATIVE_PATH_MAX if home or path[0] != "/" else ABSOLUTE_PATH_MAX
    if relative > limit:
        raise Malformed(f"path of {len(path)} bytes (expected at most {limit}: '{printable(path, 60)}')")


def is_path(path: str) -> bool:
    """Return whether *path* is an ordinary path, absolute or relative."""
    try:
        check_path(path)
    except Malformed:
        return False
    return True


@lru_cache(maxsize=1024)
def encoded_path(path: str, special: bool = False) -> bytes:
    """Return the checked *path* with its terminator. Cached: a client names the same keys again and again.

    Of a few VMs: each start of a VM has names of its own, which stay in memory until as many others came.
    """
    check_path(path, special)
    return path.encode("ascii") + b"\0"


def encode_request(op: Op, path: str, value: bytes, arguments: tuple[str, ...]) -> bytes:
    """Return the payload of a request. Raises :class:`Malformed`."""
    if op in PLAIN and not value and not arguments:
        return encoded_path(path)  # by far the most
    shape = SHAPES.get(op)
    if shape is None:
        raise Malformed(f"{op!r} is not a request")
    if value and op is not Op.WRITE:
        raise Malformed(f"{op.name} takes no value")
    if shape.path:
        start = encoded_path(path, shape.special)
    elif path:
        raise Malformed(f"{op.name} takes no path")
    else:
        start = b""
    _check_arguments(op, shape, arguments, shape.pattern)
    if not shape.path and not arguments:
        return b"\0"
    try:
        return start + value + "".join([f"{argument}\0" for argument in arguments]).encode("latin-1")
    except UnicodeEncodeError:
        raise Malformed(f"{op.name}: argument is not made of single bytes") from None


def _check_arguments(op: Op, shape: Shape, arguments: tuple[str, ...], pattern: re.Pattern[str] | None) -> None:
    least, most = shape.arguments
    if not least <= len(arguments) <= most:
        raise Malformed(f"{op.name} with {len(arguments)} arguments (expected {least if least == most else 'more'})")
    for argument in arguments:
        if "\0" in argument:
            raise Malformed(f"{op.name}: argument with a NUL inside")
        if pattern and not pattern.fullmatch(argument):
            raise Malformed(f"{op.name}: argument '{printable(argument)}' is not valid (expected {_EXPECTED[pattern]})")


def decode_request(op: Op, untrusted_payload: bytes) -> tuple[str, bytes, tuple[str, ...]]:
    """Return path, value and arguments of a request, as a daemon takes it. Raises :class:`Malformed`.

    C xenstored (``xenstored_domain.c``, ``xenstored_watch.c``) makes a number of any text, and searches for a watch
    that is to be removed whatever its path is like.
    """
    shape = SHAPES.get(op)
    if shape is None:
        raise Malformed(f"{op.name} is not a request")
    path, value = "", b""
    if not shape.path and shape.arguments == (0, 0):
        return path, value, ()  # what follows START and RESET_WATCHES is never read
    rest = untrusted_payload
    if shape.path:
        start, end, rest = rest.partition(b"\0")
        if not end:
            raise Malformed(f"{op.name}: path without terminator")
        path = start.decode("latin-1")
        if op is not Op.UNWATCH:
            check_path(path, shape.special)
    if op is Op.WRITE:
        return path, rest, ()
    if rest and not rest.endswith(b"\0"):
        raise Malformed(f"{op.name}: argument without terminator")
    arguments = tuple(rest[:-1].decode("latin-1").split("\0")) if rest else ()
    _check_arguments(op, shape, arguments, None if shape.pattern in (_NUMBER, _PERMISSION) else shape.pattern)
    return path, value, arguments


def decode_reply(op: Op, untrusted_payload: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return value and strings of a good reply to *op*. Raises :class:`Malformed`."""
    if op in RAW:
        return untrusted_payload, ()
    if op in ACKNOWLEDGED:
        if untrusted_payload != b"OK\0":
            raise Malformed(f"{op.name} replied with '{printable(untrusted_payload, 40)}' (expected OK)")
        return b"", ()
    strings = _strings(op, untrusted_payload)
    if op is Op.DIRECTORY:
        if not _NAMES.fullmatch(untrusted_payload):
            raise Malformed("DIRECTORY: invalid names (expected letters, digits, '-', '_' and '@')")
    elif op is Op.DIRECTORY_PART:
        if not strings or not _NUMBER.fullmatch(strings[0]) or not all(map(_NAME.fullmatch, _without_end(strings[1:]))):
            raise Malformed("DIRECTORY_PART: invalid reply (expected a generation and names)")
    elif op is Op.GET_PERMS:
        if not strings or not all(map(_PERMISSION.fullmatch, strings)):
            raise Malformed("GET_PERMS: invalid permissions (expected such as n0)")
    elif len(strings) != 1:
        raise Malformed(f"{op.name}: {len(strings)} strings (expected 1)")
    elif op is Op.IS_DOMAIN_INTRODUCED:
        if not _END.fullmatch(strings[0]):
            raise Malformed(f"{op.name} replied with '{printable(strings[0], 40)}' (expected T or F)")
    elif op is Op.TRANSACTION_START and not (_NUMBER.fullmatch(strings[0]) and 0 < int(strings[0]) < 1 << 32):
        # 0 means "in no transaction": a transaction of that number would not be one.
        raise Malformed(f"TRANSACTION_START replied with '{printable(strings[0], 40)}' (expected a number)")
    return b"", strings


def _without_end(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the *names* of a part of a directory without the empty one that ends it."""
    return names[:-1] if names and not names[-1] else names


def decode_error(untrusted_payload: bytes) -> str:
    """Return the errno name of an error reply. Raises :class:`Malformed`."""
    if not _ERRNO.fullmatch(untrusted_payload):
        raise Malformed(f"error reply '{printable(untrusted_payload, 40)}' (expected an errno name)")
    return untrusted_payload[:-1].decode("ascii")


def decode_watch_event(untrusted_payload: bytes) -> tuple[str, str]:
    """Return path and token of a watch event. Raises :class:`Malformed`."""
    if untrusted_payload.count(b"\0") != 2 or not untrusted_payload.endswith(b"\0"):
        raise Malformed("watch event (expected a path and a token with terminators)")
    path, token = untrusted_payload[:-1].decode("latin-1").split("\0")
    check_path(path, special=True)
    return path, token


def _strings(op: Op, untrusted_payload: bytes) -> tuple[str, ...]:
    if not untrusted_payload:
        return ()
    if not untrusted_payload.endswith(b"\0"):
        raise Malformed(f"{op.name}: string without terminator in the reply")
    if not untrusted_payload.isascii():
        raise Malformed(f"{op.name}: reply with bytes that are not ASCII")
    return tuple(untrusted_payload[:-1].decode("ascii").split("\0"))
