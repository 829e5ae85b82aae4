"""The operations of a key store as XenStore requests, and the daemon's answers as their outcomes."""

from __future__ import annotations

from typing import Any

from vminterface.channel.store import GetPermissions, List, Operation, Read, Remove, SetPermissions, Write
from vminterface.errors import (
    KeyNotFound,
    PermissionDenied,
    QuotaExceeded,
    StoreError,
    TransactionConflict,
    VMInterfaceError,
)
from vminterface.wire.xenstore import TOO_MANY_NAMES, ErrorReply, Op, Reply, Request
from vminterface.wire.xenstore_messages import LISTING_MAX, NAMES_MAX

#: Errno names as the daemon spells them (``xen/include/public/io/xs_wire.h``), what they are here, what they mean.
_ERRORS: dict[str, tuple[type[VMInterfaceError], str]] = {
    "ENOENT": (KeyNotFound, "no such key"),
    "EACCES": (PermissionDenied, "permission denied"),
    "EPERM": (PermissionDenied, "permission denied"),
    "ENOSPC": (QuotaExceeded, "quota exceeded"),
    "EQUOTA": (QuotaExceeded, "quota exceeded"),
    "E2BIG": (QuotaExceeded, "too big"),
    "ENOMEM": (QuotaExceeded, "no memory left for it"),
    "EAGAIN": (TransactionConflict, "changed by others at the same time"),
}


def refusal(path: str, error: str) -> VMInterfaceError:
    """Return the error that stands for the errno name *error* (``ENOENT``) about *path*."""
    if error == TOO_MANY_NAMES:
        return too_many_names(path)
    kind, meaning = _ERRORS.get(error, (StoreError, "refused by the store"))
    return kind(f"{path}: {meaning} ({error})")


def refusal_of_watch(path: str, error: str) -> VMInterfaceError:
    """Return the same for a watch on *path*: what is too big there is the number of this domain's watches."""
    if error == "E2BIG":
        return QuotaExceeded(f"{path}: too many watches: this domain has as many as the store allows (E2BIG)")
    return refusal(path, error)


def too_many_names(path: str) -> VMInterfaceError:
    """Return the error of a directory that is too large to be read."""
    return StoreError(f"{path}: more than {NAMES_MAX} names or {LISTING_MAX} bytes of them are below it")


def requests_of(operation: Operation, transaction: int) -> tuple[Request, ...]:
    """Return what to ask for *operation*, in this order."""
    path = operation.path
    match operation:
        case Read():
            return (Request(Op.READ, path, b"", (), transaction),)
        case Write():
            return (Request(Op.WRITE, path, operation.value, (), transaction),)
        case List():
            return (Request(Op.DIRECTORY, path, b"", (), transaction),)
        case Remove():
            # The daemon replies OK to the removal of a key that does not exist: only a read shows whether it did.
            return (Request(Op.READ, path, b"", (), transaction), Request(Op.RM, path, b"", (), transaction))
        case GetPermissions():
            return (Request(Op.GET_PERMS, path, b"", (), transaction),)
        case SetPermissions():
            return (Request(Op.SET_PERMS, path, b"", operation.permissions, transaction),)


def outcome_of(operation: Operation, replies: tuple[Reply | ErrorReply, ...]) -> Any:
    """Return the outcome of *operation*, given the answers to all its requests."""
    reply = replies[-1]
    if isinstance(operation, Remove) and isinstance(replies[0], ErrorReply) and replies[0].error == "ENOENT":
        reply = replies[0]
    if isinstance(reply, ErrorReply):
        if isinstance(operation, SetPermissions) and reply.error == "ENOENT":
            return KeyNotFound(f"{operation.path}: no such key, or no such domain to grant access to (ENOENT)")
        return refusal(operation.path, reply.error)
    if isinstance(operation, Read):
        return reply.value
    if isinstance(operation, List | GetPermissions):
        return list(reply.strings)
    return None


def is_too_long(operation: Operation, replies: tuple[Reply | ErrorReply, ...]) -> bool:
    """Whether *operation* is a listing that does not fit into one message."""
    return isinstance(operation, List) and isinstance(replies[0], ErrorReply) and replies[0].error == "E2BIG"
