"""The requests that concern nodes: each function returns the reply's value and its strings, or raises Refused."""

from __future__ import annotations

import re
from typing import Protocol

from lab.xenstored.client import Client
from lab.xenstored.domains import Domains, Quotas
from lab.xenstored.nodes import Nodes
from lab.xenstored.permissions import OWNER, READ, WRITE, Permission, Permissions, access
from lab.xenstored.tree import Refused, Tree
from vminterface.wire.xenstore import PAYLOAD_MAX, Op, Request

AnyReply = tuple[bytes, tuple[str, ...]]


class Store(Protocol):
    """What a request may use of the store beside the nodes."""

    tree: Tree
    domains: Domains
    quotas: Quotas
    #: Permissions of what can only be watched.
    special: dict[str, Permissions]


def as_number(text: str) -> int:
    """Return what C's ``atoi`` makes of *text*: the low 32 bits, with their sign, of a ``long`` as near as can be."""
    digits = re.match(r"[ \t-\r]*([+-]?[0-9]+)", text, re.ASCII)
    if digits is None:
        return 0
    low = min(max(int(digits[1]), -(1 << 63)), (1 << 63) - 1) % (1 << 32)
    return low - (1 << 32) if low >> 31 else low


def read(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """READ."""
    return nodes.get(client.absolute(request.path), READ).value, ()


def directory(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """DIRECTORY."""
    return b"", nodes.get(client.absolute(request.path), READ).children


def directory_part(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """DIRECTORY_PART: names from a byte offset on, as many as one message takes."""
    node = nodes.get(client.absolute(request.path), READ)
    names = "".join(f"{child}\0" for child in node.children)
    generation, offset = str(node.generation), as_number(request.arguments[0]) % (1 << 32)
    room = PAYLOAD_MAX - len(generation) - 2
    rest = names[offset : offset + room]
    rest = rest[: rest.rfind("\0") + 1]
    end = ("",) if offset + len(rest) >= len(names) else ()
    return b"", (generation, *rest.split("\0")[:-1], *end)


def get_perms(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """GET_PERMS."""
    if request.path.startswith("@"):
        raise Refused("EINVAL")
    node = nodes.get(client.absolute(request.path), READ)
    return b"", tuple(entry.render() for entry in node.permissions)


def set_perms(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """SET_PERMS."""
    if client.unprivileged and len(request.arguments) > store.quotas.permissions:
        raise Refused("ENOSPC")
    try:
        permissions = tuple(map(Permission.parse, request.arguments))
    except ValueError:
        raise Refused("EINVAL") from None
    permissions = tuple(
        entry
        if store.domains.meet(entry.domid, store.tree.generation + 1)
        else Permission(entry.letter, entry.domid, True)
        for entry in permissions
    )
    if permissions[0].void:
        raise Refused("ENOENT")
    if request.path.startswith("@"):
        _set_special(store, client, request.path, permissions)
    else:
        nodes.set_permissions(client.absolute(request.path), permissions, WRITE | OWNER)
    return b"", ()


def _set_special(store: Store, client: Client, path: str, permissions: Permissions) -> None:
    if path not in store.special:
        raise Refused("EINVAL")
    if not access(store.special[path], client.identities) & OWNER:
        raise Refused("EACCES")
    store.special[path] = permissions


def write(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """WRITE."""
    nodes.write(client.absolute(request.path), request.value, WRITE)
    return b"", ()


def mkdir(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """MKDIR."""
    nodes.make(client.absolute(request.path), WRITE)
    return b"", ()


def rm(store: Store, nodes: Nodes, client: Client, request: Request) -> AnyReply:
    """RM."""
    nodes.remove(client.absolute(request.path), WRITE)
    return b"", ()


HANDLERS = {
    Op.READ: read,
    Op.DIRECTORY: directory,
    Op.DIRECTORY_PART: directory_part,
    Op.GET_PERMS: get_perms,
    Op.SET_PERMS: set_perms,
    Op.WRITE: write,
    Op.MKDIR: mkdir,
    Op.RM: rm,
}
