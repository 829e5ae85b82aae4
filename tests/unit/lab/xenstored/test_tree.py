"""The nodes of the lab's XenStore, their generations, sizes and owners."""

from __future__ import annotations

from lab.xenstored.permissions import Permission
from lab.xenstored.tree import Node, Tree, is_below, join, name_of, parent_of


def owned(domid: int, *children: str) -> Node:
    return Node(children=children, permissions=(Permission("n", domid),))


def read(tree: Tree, path: str) -> Node:
    node = tree.read(path)
    assert node is not None
    return node


def test_it_begins_with_the_three_nodes_that_xenstored_makes() -> None:
    tree = Tree()
    assert read(tree, "/").children == ("tool",)
    assert read(tree, "/tool").children == ("xenstored",)
    assert read(tree, "/tool/xenstored").value == b""


def test_every_write_has_a_generation_of_its_own() -> None:
    tree = Tree()
    generations = []
    for _ in range(3):
        tree.write("/a", Node(b"same"))
        generations.append(read(tree, "/a").generation)
    assert generations == sorted(set(generations))


def test_nodes_are_counted_for_their_owner() -> None:
    tree = Tree()
    tree.write("/a", owned(3))
    tree.write("/b", owned(3))
    tree.write("/b", owned(4))
    tree.delete("/a")
    assert tree.owned.get(3) == 0
    assert tree.owned.get(4) == 1


def test_it_finds_the_topmost_nodes_of_an_owner() -> None:
    tree = Tree()
    tree.write("/", owned(0, "a", "b"))
    tree.write("/a", owned(3, "c"))
    tree.write("/a/c", owned(3))
    tree.write("/b", owned(0, "d"))
    tree.write("/b/d", owned(3))
    assert sorted(tree.owned_by(3)) == ["/a", "/b/d"]


def test_a_node_is_as_large_as_its_record_in_the_database() -> None:
    assert Node(b"12345", ("a", "bc")).size == 24 + 8 + 5 + 5


def test_paths_are_taken_apart_and_put_together() -> None:
    assert [parent_of(p) for p in ("/a/b", "/a", "/")] == ["/a", "/", "/"]
    assert name_of("/a/b") == "b"
    assert [join("/", "a"), join("/a", "b")] == ["/a", "/a/b"]
    assert is_below("/a/b", "/a")
    assert is_below("/a", "/")
    assert not is_below("/ab", "/a")
