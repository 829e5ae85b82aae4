"""The operations of a key store as QubesDB requests, and the daemon's answers as their outcomes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vminterface.channel.qubesdb.connection import AnyReply
from vminterface.channel.store import GetPermissions, List, Operation, Read, Remove, SetPermissions, Write
from vminterface.errors import KeyNotFound, LocalProtocolError, StoreError, VMInterfaceError, printable
from vminterface.wire.qubesdb import Command, Entry, ErrorReply, Reply, Request

#: Keys of one folder of which all are removed, from which on the folder goes with one request: the daemon in the VM
#: has to reply to each.
FOLDER_LEAST = 8


def is_within(path: str, top: str) -> bool:
    """Whether *path* is *top* or below it."""
    return path == top or top == "/" or (path.startswith(top) and path[len(top)] == "/")


def check(operation: Operation) -> None:
    """Raise LocalProtocolError for a path that names no key, where the daemon would take a prefix or a directory."""
    path = operation.path
    folder = path.endswith("/") and path != "/" and isinstance(operation, Remove)
    root = path == "/" and isinstance(operation, List)
    if not path.startswith("/") or (path.endswith("/") and not folder and not root):
        raise LocalProtocolError(
            f"'{printable(path)}' is not a valid path (expected one that starts with / and does not end with it)"
        )


def removed_below(path: str) -> str:
    """Return the prefix of the keys that go with a removal of *path*."""
    return path if path.endswith("/") else f"{path}/"


def whole_folders(paths: Iterable[str]) -> set[str]:
    """Return the folders, with their last slash, in which so many of *paths* are that all of it may be removed."""
    counts = Counter(path.rstrip("/").rpartition("/")[0] for path in paths)
    return {f"{folder}/" for folder, count in counts.items() if folder and count >= FOLDER_LEAST}


@dataclass(slots=True)
class Plan:
    """The requests of a batch; *places* has for each operation the indexes of those that do it."""

    #: The keys of which the batch removes some, and their values where *again* needs them; kept up to date.
    existing: dict[str, bytes]
    #: Whether a key is written once more before it is removed.
    again: bool = False
    requests: list[Request] = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, operations: Sequence[Operation], existing: Mapping[str, bytes], *, again: bool) -> Plan:
        """Plan *operations* in their order, removals that follow on each other in as few requests as possible."""
        plan = cls(dict(existing), again)
        run: list[str] = []
        for operation in operations:
            if isinstance(operation, Remove):
                run.append(operation.path)
                continue
            if run:
                plan._remove(run)
                run = []
            plan._add(operation)
        if run:
            plan._remove(run)
        return plan

    def _add(self, operation: Operation) -> None:
        path = operation.path
        match operation:
            case Read():
                self.places.append((self._ask(Request(Command.READ, path)),))
            case Write():
                self.existing[path] = operation.value
                self.places.append((self._ask(Request(Command.WRITE, path, operation.value)),))
            case List():
                self.places.append((self._ask(Request(Command.LIST, path)),))
            case _:
                self.places.append(())

    def _ask(self, request: Request) -> int:
        self.requests.append(request)
        return len(self.requests) - 1

    def _remove(self, run: Sequence[str]) -> None:
        """Plan the removals of the paths of *run*."""
        paths = sorted(self.existing)
        below = [self._within(paths, removed_below(path)) for path in run]
        going = {key for keys in below for key in keys} | {path for path in run if path in self.existing}
        whole: dict[str, int] = {}
        for folder in sorted(whole_folders(run)):
            if (keys := self._within(paths, folder)) and going.issuperset(keys):
                whole[folder] = self._rm(folder, keys[0])
        for path, keys in zip(run, below, strict=True):
            if (at := next((at for folder, at in whole.items() if path.startswith(folder)), None)) is not None:
                # What was not there, or went with an earlier one of the run, has not been removed by this.
                found = path in self.existing or any(key in self.existing for key in keys)
                self.places.append((at,) if found else ())
            else:
                own = []
                if any(key in self.existing for key in keys):
                    own.append(self._rm(removed_below(path), next(key for key in keys if key in self.existing)))
                if path in self.existing:
                    own.append(self._rm(path, path))
                self.places.append(tuple(own))
            for key in (path, *keys):
                self.existing.pop(key, None)

    @staticmethod
    def _within(paths: Sequence[str], prefix: str) -> Sequence[str]:
        """Return those of the sorted *paths* that start with *prefix*, which ends with a slash."""
        return paths[bisect_left(paths, prefix) : bisect_left(paths, prefix[:-1] + "0")]

    def _rm(self, path: str, key: str) -> int:
        """Ask for the removal of *path*; *key* is one that goes with it."""
        if self.again:
            self._ask(Request(Command.WRITE, key, self.existing[key]))
        return self._ask(Request(Command.RM, path))


def outcome_of(operation: Operation, received: Sequence[AnyReply]) -> Any:
    """Return the outcome of *operation*, given the answers to all its requests."""
    if isinstance(operation, GetPermissions | SetPermissions):
        return StoreError(f"{operation.path}: QubesDB has no permissions")
    if isinstance(operation, Remove):
        replies = [reply for reply, _ in received]
        refused = [reply for reply in replies if isinstance(reply, ErrorReply) and not reply.missing]
        if refused:
            return refusal(refused[0])
        if all(isinstance(reply, ErrorReply) for reply in replies):
            return KeyNotFound(f"{operation.path}: no such key")
        return None
    ((reply, entries),) = received
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
    # The daemon lists in order, which a set would lose and the sorting have to find anew.
    names = {e.path[len(top) :].partition("/")[0]: None for e in entries if e.path.startswith(top)}
    if not names and path != "/" and not any(entry.path == path for entry in entries):
        return KeyNotFound(f"{path}: no such key")
    # A doubled slash makes a name of nothing, which no path can name.
    names.pop("", None)
    return sorted(names)


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
