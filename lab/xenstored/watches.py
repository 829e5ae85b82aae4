"""Watches: who is told that a path changed, and under which name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.xenstored.tree import Refused, is_below


@dataclass(frozen=True, slots=True)
class Watch:
    """One registration: an absolute (or special) path and a token that the client chose."""

    path: str
    token: str
    #: What is cut off the front of a path before the client sees it; empty if it registered an absolute path.
    home: str = ""

    def shown(self, path: str) -> str:
        """Return *path* as this client named it."""
        return path[len(self.home) :].removeprefix("/") if self.home else path


class Watches:
    """The registrations of one client, in their order."""

    def __init__(self) -> None:
        self._watches: dict[tuple[str, str], Watch] = {}

    def __len__(self) -> int:
        return len(self._watches)

    def __contains__(self, key: object) -> bool:
        return key in self._watches

    def add(self, watch: Watch) -> None:
        """Register *watch*. Raises Refused (EEXIST)."""
        if (watch.path, watch.token) in self._watches:
            raise Refused("EEXIST")
        self._watches[watch.path, watch.token] = watch

    def remove(self, path: str, token: str) -> None:
        """Take a registration away. Raises Refused (ENOENT)."""
        if self._watches.pop((path, token), None) is None:
            raise Refused("ENOENT")

    def clear(self) -> None:
        """Take all registrations away."""
        self._watches.clear()

    def on(self, path: str, exact: bool) -> Iterator[Watch]:
        """Give those that a change of *path* fires; *exact*: only those on this very path."""
        for watch in self._watches.values():
            if watch.path == path or (not exact and is_below(path, watch.path)):
                yield watch
