"""The store: one request of one client in, its answer out, watch events queued at the clients whom they concern.

The meaning of every request is Xen's ``docs/misc/xenstore.txt``; where that leaves a choice (which errno, which
check comes first, what a watch sees), this does what C xenstored 4.17 does.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.xenstored.client import Client, Ticket
from lab.xenstored.domains import Domain, Domains, Quotas
from lab.xenstored.nodes import Nodes, valid_permissions
from lab.xenstored.permissions import CLOSED, OWNER, READ, WRITE, Permission, Permissions, access
from lab.xenstored.transaction import Transaction
from lab.xenstored.tree import Node, Refused, Tree, parent_of
from lab.xenstored.watches import Watch
from vminterface.wire.xenstore import PAYLOAD_MAX, BadRequest, ErrorReply, Op, Reply, Request

_PRIVILEGED = {Op.CONTROL, Op.INTRODUCE, Op.RELEASE, Op.IS_DOMAIN_INTRODUCED, Op.RESUME, Op.SET_TARGET}
_NO_TRANSACTION = {Op.WATCH, Op.UNWATCH}
INTRODUCED, RELEASED = "@introduceDomain", "@releaseDomain"
#: DOMID_SELF of xen/include/public/xen.h.
_SELF = 0x7FF0


def _number(text: str) -> int:
    """Return what C's ``atoi`` makes of digits that fit."""
    return min(int(text), 0x7FFFFFFF)


class Store:
    """The whole state. *exists* says whether there is a domain of that number, introduced or not."""

    def __init__(self, exists: Callable[[int], bool], quotas: Quotas | None = None) -> None:
        self.tree = Tree()
        self.domains = Domains(exists)
        self.quotas = quotas or Quotas()
        self.clients: list[Client] = []
        #: Called with a domain that was introduced or released: its connections begin or end.
        self.on_introduced: Callable[[Domain], None] = lambda domain: None
        self.on_released: Callable[[Domain], None] = lambda domain: None
        self._special: dict[str, Permissions] = {INTRODUCED: CLOSED, RELEASED: CLOSED}
        self._cause: Ticket | None = None

    def connect(self, domain: Domain | None = None) -> Client:
        """Return a new client, of *domain* or, if None, of a process in dom0."""
        client = Client(domain)
        self.clients.append(client)
        return client

    def disconnect(self, client: Client) -> None:
        """Forget *client* with its watches and transactions."""
        client.reset()
        while client.take_event():
            pass
        self.clients.remove(client)

    def handle(self, client: Client, request: Request | BadRequest) -> tuple[Reply | ErrorReply, Ticket | None]:
        """Carry out *request*; return the answer, and what to release when that is sent."""
        ticket = Ticket(client.domain) if client.domain and client.unprivileged else None
        self._cause = ticket
        try:
            reply: Reply | ErrorReply = self._answer(client, request)
        except Refused as refusal:
            reply = ErrorReply(request.request_id, refusal.error, request.transaction)
        finally:
            self._cause = None
        return reply, ticket

    def _answer(self, client: Client, request: Request | BadRequest) -> Reply:
        if isinstance(request, BadRequest):
            if request.error == "EINVAL" and request.transaction and request.transaction not in client.transactions:
                raise Refused("ENOENT")
            raise Refused(request.error)
        op = request.op
        if op in _PRIVILEGED and client.unprivileged:
            raise Refused("EACCES")
        transaction = None
        if request.transaction and op not in _NO_TRANSACTION:
            transaction = client.transactions.get(request.transaction)
            if transaction is None:
                raise Refused("ENOENT")
        value, strings = b"", ()
        if op in _ON_NODES:
            nodes = Nodes(client, self.tree, transaction, self.domains, self.quotas, self._fire)
            value, strings = _ON_NODES[op](self, nodes, client, request)
        else:
            strings = _OTHERS[op](self, client, request, transaction)
        if sum(len(string) + 1 for string in strings) > PAYLOAD_MAX:
            raise Refused("E2BIG")
        return Reply(request.request_id, op, value, strings, request.transaction)

    # Nodes. Each returns the reply's value and strings.

    def _read(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        return nodes.get(_absolute(client, request.path), READ).value, ()

    def _directory(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        return b"", nodes.get(_absolute(client, request.path), READ).children

    def _directory_part(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        node = nodes.get(_absolute(client, request.path), READ)
        names = "".join(f"{child}\0" for child in node.children)
        generation, offset = str(node.generation), _number(request.arguments[0])
        room = PAYLOAD_MAX - len(generation) - 2
        rest = names[offset : offset + room]
        rest = rest[: rest.rfind("\0") + 1]
        end = ("",) if offset + len(rest) >= len(names) else ()
        return b"", (generation, *rest.split("\0")[:-1], *end)

    def _get_perms(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        if request.path.startswith("@"):
            raise Refused("EINVAL")
        node = nodes.get(_absolute(client, request.path), READ)
        return b"", tuple(entry.render() for entry in node.permissions)

    def _set_perms(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        if client.unprivileged and len(request.arguments) > self.quotas.permissions:
            raise Refused("ENOSPC")
        try:
            permissions = tuple(map(Permission.parse, request.arguments))
        except ValueError:
            raise Refused("EINVAL") from None
        permissions = tuple(
            entry
            if self.domains.meet(entry.domid, self.tree.generation + 1)
            else Permission(entry.letter, entry.domid, True)
            for entry in permissions
        )
        if permissions[0].void:
            raise Refused("ENOENT")
        if request.path.startswith("@"):
            self._set_special(client, request.path, permissions)
        else:
            nodes.set_permissions(_absolute(client, request.path), permissions, WRITE | OWNER)
        return b"", ()

    def _set_special(self, client: Client, path: str, permissions: Permissions) -> None:
        if path not in self._special:
            raise Refused("EINVAL")
        if not access(self._special[path], client.identities) & OWNER:
            raise Refused("EACCES")
        self._special[path] = permissions

    def _write(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        nodes.write(_absolute(client, request.path), request.value, WRITE)
        return b"", ()

    def _mkdir(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        nodes.make(_absolute(client, request.path), WRITE)
        return b"", ()

    def _rm(self, nodes: Nodes, client: Client, request: Request) -> tuple[bytes, tuple[str, ...]]:
        nodes.remove(_absolute(client, request.path), WRITE)
        return b"", ()

    # Watches and transactions. Each returns the reply's strings.

    def _watch(self, client: Client, request: Request, _none: Transaction | None) -> tuple[str, ...]:
        relative = request.path[0] not in "/@"
        watch = Watch(_absolute(client, request.path), request.arguments[0], client.home if relative else "")
        domain = client.domain if client.unprivileged else None
        if (watch.path, watch.token) not in client.watches and domain and domain.watches > self.quotas.watches:
            raise Refused("E2BIG")
        client.watches.add(watch)
        if client.domain:
            client.domain.watches += 1
        client.tell(watch.shown(watch.path), watch.token, None)
        return ()

    def _unwatch(self, client: Client, request: Request, _none: Transaction | None) -> tuple[str, ...]:
        client.watches.remove(_absolute(client, request.path), request.arguments[0])
        if client.domain:
            client.domain.watches -= 1
        return ()

    def _reset_watches(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        client.reset()
        return ()

    def _start(self, client: Client, request: Request, transaction: Transaction | None) -> tuple[str, ...]:
        if transaction:
            raise Refused("EBUSY")
        domain = client.domain if client.unprivileged else None
        if domain and domain.transactions > self.quotas.transactions:
            raise Refused("ENOSPC")
        number = client.next_transaction
        while number in client.transactions or number == 0:
            number = (number + 1) % (1 << 32)
        client.next_transaction = (number + 1) % (1 << 32)
        client.transactions[number] = Transaction(self.tree, self.quotas.transaction_nodes if domain else None)
        if client.domain:
            client.domain.transactions += 1
        return (str(number),)

    def _end(self, client: Client, request: Request, transaction: Transaction | None) -> tuple[str, ...]:
        if transaction is None:
            raise Refused("ENOENT")
        del client.transactions[request.transaction]
        if client.domain:
            client.domain.transactions -= 1
        if request.arguments[0] == "F":
            return ()
        if transaction.failed:
            raise Refused("ENOMEM")
        for domid, growth in transaction.growth().items():
            if domid and self.tree.owned.get(domid, 0) + growth >= self.quotas.nodes:
                raise Refused("ENOSPC")
        if transaction.conflicts():
            raise Refused("EAGAIN")
        for path, touched in transaction.apply():
            if touched.fires:
                self._fire(path, None, touched.exact, touched.former_permissions)
        return ()

    def _fire(self, path: str, node: Node | None, exact: bool, former: Permissions | None) -> None:
        for client in self.clients:
            if len(client.watches) and self._may_see(client, path, node, former):
                for watch in client.watches.on(path, exact):
                    client.tell(watch.shown(path), watch.token, self._cause)

    def _may_see(self, client: Client, path: str, node: Node | None, former: Permissions | None) -> bool:
        if path in self._special:
            return bool(access(self._special[path], client.identities) & READ)
        if former and access(former, client.identities) & READ:
            return True
        permissions = node.permissions if node else self._permissions(path)
        if permissions is None:
            return False
        if access(permissions, client.identities) & READ:
            return True
        above = self._permissions(parent_of(path))
        return above is not None and bool(access(above, client.identities) & READ)

    def _permissions(self, path: str) -> Permissions | None:
        node = self.tree.read(path)
        return valid_permissions(node, self.domains) if node else None

    # Domains.

    def _introduce(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        domid, _frame, port = map(_number, request.arguments)
        if port <= 0:
            raise Refused("EINVAL")
        domain = self.domains.meet(domid, self.tree.generation + 1)
        if domain is None:
            raise Refused("ENOENT")
        if domain.introduced:
            for other in [c for c in self.clients if c.domain is domain]:
                other.reset()
            return ()
        domain.introduced = True
        self.on_introduced(domain)
        self._fire(INTRODUCED, None, False, None)
        return ()

    def _connected(self, text: str) -> Domain:
        domain = self.domains.introduced(_number(text))
        if domain is None:
            raise Refused("ENOENT")
        return domain

    def _release(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        if _number(request.arguments[0]) == 0:
            raise Refused("EINVAL")
        self.release(self._connected(request.arguments[0]))
        return ()

    def release(self, domain: Domain) -> None:
        """The domain is gone: end its connections, remove the nodes that it owns, tell the others."""
        self.on_released(domain)
        nodes = Nodes(Client(), self.tree, None, self.domains, self.quotas, self._fire)
        for path in list(self.tree.owned_by(domain.domid)):
            nodes.remove_subtree(path)
        self.domains.forget(domain.domid)
        self._fire(RELEASED, None, False, None)

    def _resume(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        if _number(request.arguments[0]) == 0:
            raise Refused("EINVAL")
        self._connected(request.arguments[0])
        return ()

    def _set_target(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        domain, target = map(self._connected, request.arguments)
        domain.target = target.domid
        return ()

    def _is_introduced(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        domid = _number(request.arguments[0])
        return ("T" if domid == _SELF or self.domains.introduced(domid) else "F",)

    def _domain_path(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        return (f"/local/domain/{_number(request.arguments[0])}",)

    def _control(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        raise Refused("EINVAL")  # what an unknown command gets: there is nothing here to control


def _absolute(client: Client, path: str) -> str:
    return path if path[0] in "/@" else f"{client.home}/{path}"


_ON_NODES = {
    Op.READ: Store._read,
    Op.DIRECTORY: Store._directory,
    Op.DIRECTORY_PART: Store._directory_part,
    Op.GET_PERMS: Store._get_perms,
    Op.SET_PERMS: Store._set_perms,
    Op.WRITE: Store._write,
    Op.MKDIR: Store._mkdir,
    Op.RM: Store._rm,
}
_OTHERS = {
    Op.WATCH: Store._watch,
    Op.UNWATCH: Store._unwatch,
    Op.RESET_WATCHES: Store._reset_watches,
    Op.TRANSACTION_START: Store._start,
    Op.TRANSACTION_END: Store._end,
    Op.INTRODUCE: Store._introduce,
    Op.RELEASE: Store._release,
    Op.RESUME: Store._resume,
    Op.SET_TARGET: Store._set_target,
    Op.IS_DOMAIN_INTRODUCED: Store._is_introduced,
    Op.GET_DOMAIN_PATH: Store._domain_path,
    Op.CONTROL: Store._control,
}
