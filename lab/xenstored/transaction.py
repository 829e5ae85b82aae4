"""A transaction: a view of the tree that is its own until it is committed.

As in C xenstored, every node that the transaction touched, also one that it only looked for and did not find, must
have the same generation at the commit as at the first touch; else the commit is refused with EAGAIN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lab.xenstored.permissions import Permissions
from lab.xenstored.tree import Node, Refused, Tree


@dataclass(slots=True)
class Touched:
    """What the transaction knows of one node."""

    node: Node | None
    #: At the first touch; None where there was no node.
    generation: int | None
    former_permissions: Permissions | None
    modified: bool = False
    #: Whether watches fire at the commit, and if so, whether only those on this very path.
    fires: bool = False
    exact: bool = False


class Transaction:
    """Reads fall through to *tree* once and are remembered; writes stay here."""

    def __init__(self, tree: Tree, node_limit: int | None) -> None:
        self.touched: dict[str, Touched] = {}
        self.failed = False
        self._tree = tree
        self._limit = node_limit

    def read(self, path: str) -> Node | None:
        """Return the node as this transaction sees it. Raises Refused when it has touched too many."""
        known = self.touched.get(path)
        if known is None:
            if self._limit is not None and len(self.touched) >= self._limit:
                self.failed = True
                raise Refused("ENOSPC")
            node = self._tree.read(path)
            known = Touched(node, node.generation if node else None, node.permissions if node else None)
            self.touched[path] = known
        return known.node

    def write(self, path: str, node: Node) -> None:
        """Make or replace the node at *path*."""
        self.read(path)
        known = self.touched[path]
        self._tree.generation += 1
        known.node, known.modified = replace(node, generation=self._tree.generation), True

    def delete(self, path: str) -> None:
        """Remove the node at *path*."""
        self.read(path)
        known = self.touched[path]
        known.node, known.modified = None, True

    def fire(self, path: str, exact: bool) -> None:
        """Remember that *path* changed; a later change decides how it fires."""
        known = self.touched[path]
        known.fires, known.exact = True, exact

    def growth(self) -> dict[int, int]:
        """Return by domid how many nodes more it will own."""
        growth: dict[int, int] = {}
        for path, known in self.touched.items():
            for node, by in ((self._tree.read(path), -1), (known.node, 1)) if known.modified else ():
                if node is not None:
                    growth[node.owner] = growth.get(node.owner, 0) + by
        return growth

    def conflicts(self) -> bool:
        """Whether somebody else changed a node that was touched here."""
        for path, known in self.touched.items():
            node = self._tree.read(path)
            if known.generation != (node.generation if node else None):
                return True
        return False

    def apply(self) -> Iterator[tuple[str, Touched]]:
        """Write the changes to the tree one by one, giving each when it is done."""
        for path, known in self.touched.items():
            if not known.modified:
                continue
            if known.node is not None:
                self._tree.write(path, known.node)
            else:
                self._tree.delete(path)
            yield path, known
