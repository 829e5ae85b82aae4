"""A transaction of the lab's XenStore is alone with its view until its commit, which notices every interference."""

from __future__ import annotations

import pytest

from lab.xenstored.transaction import Transaction
from lab.xenstored.tree import Node, Refused, Tree


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.write("/a", Node(b"old"))
    return made


def value(where: Tree | Transaction, path: str) -> bytes:
    node = where.read(path)
    assert node is not None
    return node.value


def test_its_writes_are_its_own_until_they_are_applied(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    transaction.write("/a", Node(b"new"))
    assert value(transaction, "/a") == b"new"
    assert value(tree, "/a") == b"old"
    assert [path for path, _ in transaction.apply()] == ["/a"]
    assert value(tree, "/a") == b"new"


def test_it_goes_on_seeing_what_it_saw(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    transaction.read("/a")
    tree.write("/a", Node(b"other"))
    assert value(transaction, "/a") == b"old"


def test_a_change_of_what_it_read_is_a_conflict(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    transaction.read("/a")
    assert not transaction.conflicts()
    tree.write("/a", Node(b"old"))
    assert transaction.conflicts()


def test_the_appearance_of_what_it_did_not_find_is_a_conflict(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    assert transaction.read("/b") is None
    tree.write("/b", Node())
    assert transaction.conflicts()


def test_the_disappearance_of_what_it_read_is_a_conflict(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    transaction.read("/a")
    tree.delete("/a")
    assert transaction.conflicts()


def test_changes_elsewhere_are_none_of_its_business(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    transaction.write("/a", Node(b"new"))
    tree.write("/b", Node())
    assert not transaction.conflicts()


def test_only_so_many_nodes_may_be_touched(tree: Tree) -> None:
    transaction = Transaction(tree, 2)
    transaction.read("/1")
    transaction.read("/2")
    transaction.read("/1")
    with pytest.raises(Refused, match="ENOSPC"):
        transaction.read("/3")
    assert transaction.failed


def test_it_knows_by_how_much_each_owner_grows(tree: Tree) -> None:
    transaction = Transaction(tree, None)
    transaction.delete("/a")
    transaction.write("/b", Node())
    transaction.write("/c", Node())
    assert transaction.growth() == {0: 1}
