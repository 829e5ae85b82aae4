"""A key store in memory, whose content an input chose: what a VM may write, as dom0 and the agent read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from tests.fuzz.pieces import Pieces, in_pieces
from vminterface.channel.store import KeyStore, List, Operation, Read
from vminterface.errors import KeyNotFound, PermissionDenied
from vminterface.wire.xenstore_messages import is_path


class MemoryStore(KeyStore):
    """The store with *values* by path. A value that begins with a NUL stands for a key that is hidden."""

    channel, timeout, per_vm, home = "xenstore", 1.0, False, ""
    transactions = parents = nul_bytes = True

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self._values = values

    def max_value(self, path: str) -> int:
        """Return the bytes of a value."""
        return 4096

    def allows(self, name: str) -> bool:
        """Any name."""
        return bool(name)

    def batch(self, operations: Sequence[Operation], *, timeout: float | None = None) -> list[Any]:
        """Do all *operations*, which read."""
        return [self._outcome(one) for one in operations]

    def _outcome(self, operation: Operation) -> Any:
        if isinstance(operation, Read):
            value = self._values.get(operation.path)
            if value is None:
                return KeyNotFound(f"{operation.path!a}: there is no such key")
            return PermissionDenied("a key is hidden") if value.startswith(b"\0") else value
        assert isinstance(operation, List), f"a reader does {operation!r}"
        start = f"{operation.path.rstrip('/')}/"
        names = {path[len(start) :].partition("/")[0] for path in self._values if path.startswith(start)}
        return sorted(names - {""}) or KeyNotFound("there is no such key")

    def transaction(
        self, work: Callable[[KeyStore], Any], *, attempts: int = 8, timeout: float | None = None
    ) -> NoReturn:
        """Nobody who reads needs one."""
        raise NotImplementedError

    def watch(self, paths: Iterable[str], *, timeout: float | None = None) -> NoReturn:
        """Nobody who reads once needs one."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to end."""


def values_of(data: bytes, base: str) -> dict[str, bytes]:
    """Return what *data* has a VM write below *base*: pieces, in turn a path and its value.

    A path has the characters that the protocol lets pass: what others there are cost the connection.
    """
    pieces = [*Pieces(data).pieces()]
    found = {}
    for path, value in zip(pieces[::2], pieces[1::2], strict=False):
        if is_path(text := path.decode("latin-1")):
            found[base + text] = value
    return found


def in_values(values: Mapping[str, str | bytes]) -> bytes:
    """Return the input of which :func:`values_of` makes *values*."""
    encoded = ((path.encode("ascii"), v if isinstance(v, bytes) else v.encode()) for path, v in values.items())
    return in_pieces(part for pair in encoded for part in pair)
