"""The nodes: each a value, children in the order of their making, permissions, and a generation.

A generation is a number that no other change has; a transaction compares it to see whether somebody interfered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lab.xenstored.permissions import CLOSED, Permissions


class Refused(Exception):
    """The request cannot be done; ``error`` is the name of an errno."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class Node:
    """One node; never changed, only replaced."""

    value: bytes = b""
    children: tuple[str, ...] = ()
    permissions: Permissions = CLOSED
    generation: int = 0

    @property
    def size(self) -> int:
        """Bytes in C xenstored's database: what its quota for one node counts (24 for the head, 8 a permission)."""
        return 24 + 8 * len(self.permissions) + len(self.value) + sum(map(len, self.children)) + len(self.children)

    @property
    def owner(self) -> int:
        """The domid that the node is counted against."""
        return self.permissions[0].domid

    def without(self, child: str) -> Node:
        """Return the node with one child less."""
        return replace(self, children=tuple(name for name in self.children if name != child))


def parent_of(path: str) -> str:
    """Return the path one level up; ``/`` is its own parent."""
    return path.rpartition("/")[0] or "/"


def name_of(path: str) -> str:
    """Return the last part of *path*."""
    return path.rpartition("/")[2]


def join(path: str, child: str) -> str:
    """Return the path of *child* below *path*."""
    return f"/{child}" if path == "/" else f"{path}/{child}"


def is_below(path: str, top: str) -> bool:
    """Whether *path* is *top* or below it."""
    return top == "/" or path == top or path.startswith(top + "/")


class Tree:
    """All nodes, by absolute path, and how many each domain owns."""

    def __init__(self) -> None:
        self.generation = 0
        self.owned: dict[int, int] = {}
        self._nodes = {
            "/": Node(children=("tool",)),
            "/tool": Node(children=("xenstored",)),
            "/tool/xenstored": Node(),
        }

    def read(self, path: str) -> Node | None:
        """Return the node, None if there is none."""
        return self._nodes.get(path)

    def write(self, path: str, node: Node) -> None:
        """Make or replace the one node at *path*; its place among its parent's children is the caller's care."""
        self.generation += 1
        self._count(self._nodes.get(path), -1)
        node = replace(node, generation=self.generation)
        self._nodes[path] = node
        self._count(node, 1)

    def delete(self, path: str) -> None:
        """Remove the one node at *path*, if there is one."""
        self.generation += 1
        self._count(self._nodes.pop(path, None), -1)

    def owned_by(self, domid: int) -> Iterator[str]:
        """Give the paths of the topmost nodes that *domid* owns; the tree must not change meanwhile."""
        level = ["/"]
        while level:
            path = level.pop()
            node = self._nodes[path]
            if node.owner == domid:
                yield path
            else:
                level += [join(path, child) for child in node.children]

    def _count(self, node: Node | None, by: int) -> None:
        if node is not None:
            self.owned[node.owner] = self.owned.get(node.owner, 0) + by
