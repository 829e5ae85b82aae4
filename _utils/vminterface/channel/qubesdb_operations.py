"""The operations of a key store as QubesDB requests, and the daemon's answers as their outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vminterface.channel.qubesdb_connection import Answer
from vminterface.channel.store import GetPermissions, List, Operation, Read, Remove, SetPermissions, Write
from vminterface.errors import KeyNotFound, LocalProtocolError, StoreError, VMInterfaceError, printable
from vminterface.wire.qubesdb import Command, Entry, ErrorReply, Reply, Request


def is_within(path: str, top: str) -> bool:
    """Whether *path* is *top* or below it."""
    return path == top or top == "/" or (path.startswith(top) and path[len(top)] == "/")


def check(operation: Operation) -> None:
    """Raise LocalProtocolError for a path that names no key, where the daemon would take a prefix or a directory."""
    path = operation.path
    if not path.startswith("/") or (path.endswith("/") and not (path == "/" and isinstance(operation, List))):
        raise LocalProtocolError(f"'{printable(path)}': expected a path that starts with / and does not end with it")


def requests_of(operation: Operation, existing: set[str]) -> list[Request]:
    """Return what to ask for *operation*; *existing* is kept up to date as the batch goes on."""
    path = operation.path
    match operation:
        case Read():
            return [Request(Command.READ, path)]
        case Write():
            existing.add(path)
            return [Request(Command.WRITE, path, operation.value)]
        case List():
            return [Request(Command.LIST, path)]
        case Remove():
            gone = {key for key in existing if is_within(key, path)}
            existing -= gone
            below = [Request(Command.RM, f"{path}/")] if gone - {path} else []
            return [*below, Request(Command.RM, path)] if path in gone else below
        case GetPermissions() | SetPermissions():
            return []


def outcome_of(operation: Operation, answers: Sequence[Answer]) -> Any:
    """Return the outcome of *operation*, given the answers to all its requests."""
    if isinstance(operation, GetPermissions | SetPermissions):
        return StoreError(f"{operation.path}: QubesDB has no permissions")
    if isinstance(operation, Remove):
        replies = [reply for reply, _ in answers]
        refused = [reply for reply in replies if isinstance(reply, ErrorReply) and not reply.missing]
        if refused:
            return refusal(refused[0])
        if all(isinstance(reply, ErrorReply) for reply in replies):
            return KeyNotFound(f"{operation.path}: no such key")
        return None
    ((reply, entries),) = answers
    if not isinstance(reply, Reply):
        return refusal(reply)
    if isinstance(operation, Read):
        return reply.value
    if isinstance(operation, List):
        return _names(operation.path, entries)
    return None


def _names(path: str, entries: Sequence[Entry]) -> list[str] | VMInterfaceError:
    """Return the names directly below *path*, of a listing of all paths that start so."""
    top = path if path.endswith("/") else f"{path}/"
    names = {e.path[len(top) :].partition("/")[0] for e in entries if e.path.startswith(top)}
    if not names and path != "/" and not any(entry.path == path for entry in entries):
        return KeyNotFound(f"{path}: no such key")
    # A doubled slash makes a name of nothing, which no path can name.
    return sorted(names - {""})


def refusal(reply: ErrorReply | StoreError) -> VMInterfaceError:
    """Return the error that *reply* stands for."""
    if isinstance(reply, StoreError):
        return reply
    if reply.missing:
        return KeyNotFound(f"{reply.path}: no such key")
    return StoreError(f"{reply.path}: refused by QubesDB (a read-only socket takes no changes)")


def raise_refusal(reply: Reply | ErrorReply | StoreError) -> None:
    """Raise the error that *reply* stands for, if it is one."""
    if not isinstance(reply, Reply):
        raise refusal(reply)
