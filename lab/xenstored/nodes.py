"""Nodes as one request of one client sees them: permissions applied, quotas kept, in a transaction or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from lab.xenstored.client import Client
from lab.xenstored.domains import Domains, Quotas
from lab.xenstored.permissions import ALL, Permissions, access, void_where
from lab.xenstored.transaction import Transaction
from lab.xenstored.tree import Node, Refused, Tree, join, name_of, parent_of

#: Called with path, node, whether only watches on this very path fire, and the permissions before the change.
Fire = Callable[[str, Node, bool, Permissions | None], None]


def valid_permissions(node: Node, domains: Domains) -> Permissions:
    """Return *node*'s permissions without what was meant for domains that are gone."""
    permissions = void_where(node.permissions, lambda domid: domains.younger(domid, node.generation))
    if domains.younger(permissions[0].domid, node.generation):
        return (replace(permissions[0], domid=0), *permissions[1:])
    return permissions


@dataclass(slots=True)
class _Step:
    """A node on the way down while a subtree is removed, and how many of its children are gone."""

    path: str
    node: Node
    done: int = 0


class Nodes:
    """The tree, or the transaction's view of it, for one request."""

    def __init__(
        self, client: Client, tree: Tree, transaction: Transaction | None, domains: Domains, quotas: Quotas, fire: Fire
    ) -> None:
        self._client = client
        self._tree = tree
        self._transaction = transaction
        self._domains = domains
        self._quotas = quotas
        self._fire = fire

    def load(self, path: str) -> Node | None:
        """Return the node whoever asks, None if there is none."""
        node = self._transaction.read(path) if self._transaction else self._tree.read(path)
        return replace(node, permissions=valid_permissions(node, self._domains)) if node else None

    def get(self, path: str, need: int) -> Node:
        """Return the node if the client may do all of *need*.

        Raises Refused: EACCES, or ENOENT to a client that the nearest parent lets know as much.
        """
        node = self.load(path)
        if node is not None and self._allowed(node) & need == need:
            return node
        above = path
        while (parent := self.load(above := parent_of(above))) is None:
            pass  # the root is always there
        raise Refused("ENOENT" if node is None and self._allowed(parent) & need else "EACCES")

    def write(self, path: str, value: bytes, need: int) -> None:
        """Set the value of *path*, making it and its missing parents."""
        node = self._get_or_none(path, need)
        if node is None:
            node = self._create(path, value)
        else:
            node = replace(node, value=value)
            self._save([(path, node)])
        self._fires(path, node)

    def make(self, path: str, need: int) -> None:
        """Make *path* unless it is there."""
        if self._get_or_none(path, need) is None:
            self._fires(path, self._create(path, b""))

    def set_permissions(self, path: str, permissions: Permissions, need: int) -> None:
        """Replace the permissions; only dom0 may give a node away."""
        node = self.get(path, need)
        if self._client.unprivileged and permissions[0].domid != node.owner:
            raise Refused("EPERM")
        changed = replace(node, permissions=permissions)
        self._save([(path, changed)])
        self._fires(path, changed, former=node.permissions)

    def remove(self, path: str, need: int) -> None:
        """Remove *path* and all below; a missing one is fine if its parent is there."""
        if self._get_or_none(path, need) is None:
            if self.load(parent_of(path)) is None:
                raise Refused("ENOENT")
            return
        if path == "/":
            raise Refused("EINVAL")
        self.remove_subtree(path)

    def remove_subtree(self, path: str) -> None:
        """Remove *path* and all below, children first, whoever asks.

        Raises Refused where others have interfered with a transaction, whose commit will be refused: EIO where it knows
        a node's name but saw earlier that it is not there, or the node and not its name; EINVAL where it saw no parent.
        """
        view = self._transaction or self._tree
        if self.load(parent_of(path)) is None:
            raise Refused("EINVAL")
        walk = [_Step(path, self._there(path))]
        try:
            while walk:
                here = walk[-1]
                if here.done < len(here.node.children):
                    child = join(here.path, here.node.children[here.done])
                    walk.append(_Step(child, self._there(child)))
                    continue
                walk.pop()
                self._fires(here.path, here.node, exact=here.path != path)
                view.delete(here.path)
                if walk:
                    walk[-1].done += 1
        except Refused:
            for here in walk:
                view.write(here.path, replace(here.node, children=here.node.children[here.done :]))
            raise
        parent = self._there(parent_of(path))
        if name_of(path) not in parent.children:
            raise Refused("EIO")
        view.write(parent_of(path), parent.without(name_of(path)))

    def _there(self, path: str) -> Node:
        node = self.load(path)
        if node is None:
            raise Refused("EIO")
        return node

    def _allowed(self, node: Node) -> int:
        return access(node.permissions, self._client.identities) if self._client.unprivileged else ALL

    def _get_or_none(self, path: str, need: int) -> Node | None:
        try:
            return self.get(path, need)
        except Refused as refusal:
            if refusal.error != "ENOENT":
                raise
            return None

    def _create(self, path: str, value: bytes) -> Node:
        missing = [path]
        while (top := self.load(parent_of(missing[-1]))) is None:
            missing.append(parent_of(missing[-1]))
        inherited = top.permissions
        if self._client.unprivileged:
            inherited = (replace(inherited[0], domid=self._client.domid), *inherited[1:])
        self._check_count(len(missing))
        new = [Node(value, (), inherited)]
        new += [Node(b"", (name_of(child),), inherited) for child in missing[:-1]]
        grown = replace(top, children=(*top.children, name_of(missing[-1])))
        self._save([*zip(missing, new, strict=True), (parent_of(missing[-1]), grown)])
        return new[0]

    def _check_count(self, more: int) -> None:
        if self._client.unprivileged:
            # What a transaction adds is counted when it is committed.
            owned = self._tree.owned.get(self._client.domid, 0) + (0 if self._transaction else more - 1)
            if owned >= self._quotas.nodes:
                raise Refused("ENOSPC")

    def _save(self, writes: list[tuple[str, Node]]) -> None:
        if self._client.unprivileged and any(node.size >= self._quotas.node_size for _path, node in writes):
            if self._transaction:
                self._transaction.failed = True
            raise Refused("ENOSPC")
        for path, node in writes:
            (self._transaction or self._tree).write(path, node)

    def _fires(self, path: str, node: Node, *, exact: bool = False, former: Permissions | None = None) -> None:
        if self._transaction:
            self._transaction.fire(path, exact)
        else:
            self._fire(path, node, exact, former)
