"""The store: one request of one client in, its answer out, watch events queued at the clients whom they concern.

The meaning of every request is Xen's ``docs/misc/xenstore.txt``; where that leaves a choice (which errno, which
check comes first, what a watch sees), this does what C xenstored 4.17 does.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.xenstored.client import Client, Ticket
from lab.xenstored.domains import Domain, Domains, Quotas
from lab.xenstored.node_requests import HANDLERS, as_number
from lab.xenstored.nodes import Nodes, valid_permissions
from lab.xenstored.permissions import CLOSED, READ, Permissions, access
from lab.xenstored.transaction import Transaction
from lab.xenstored.tree import Node, Refused, Tree, parent_of
from lab.xenstored.watches import Watch
from vminterface.wire.xenstore import PAYLOAD_MAX, BadRequest, ErrorReply, Op, Reply, Request
from vminterface.wire.xenstore_messages import RELATIVE_PATH_MAX

_PRIVILEGED = {Op.CONTROL, Op.INTRODUCE, Op.RELEASE, Op.IS_DOMAIN_INTRODUCED, Op.RESUME, Op.SET_TARGET}
_NO_TRANSACTION = {Op.WATCH, Op.UNWATCH}
INTRODUCED, RELEASED = "@introduceDomain", "@releaseDomain"
#: DOMID_SELF of xen/include/public/xen.h.
_SELF = 0x7FF0
_HOME = re.compile(r"/local/domain/[0-9]{1,5}/")


def _is_too_long(path: str) -> bool:
    """Whether C xenstored refuses the absolute *path*: what counts is its part in a domain's home, or all of it."""
    home = _HOME.match(path)
    return len(path) - (home.end() if home else 0) > RELATIVE_PATH_MAX


class Store:
    """The whole state. *exists* says whether there is a domain of that number, introduced or not."""

    def __init__(self, exists: Callable[[int], bool], quotas: Quotas | None = None) -> None:
        self.tree = Tree()
        self.domains = Domains(exists)
        self.quotas = quotas or Quotas()
        self.clients: list[Client] = []
        #: Clients that have got an event since this was last emptied.
        self.notified: set[Client] = set()
        #: Called with a domain that was introduced or released: its connections begin or end.
        self.on_introduced: Callable[[Domain], None] = lambda domain: None
        self.on_released: Callable[[Domain], None] = lambda domain: None
        #: Permissions of what can only be watched.
        self.special: dict[str, Permissions] = {INTRODUCED: CLOSED, RELEASED: CLOSED}
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
        self.notified.discard(client)

    def handle(self, client: Client, request: Request | BadRequest) -> tuple[Reply | ErrorReply, Ticket | None]:
        """Carry out *request*; return the answer, and what to release when that is sent."""
        ticket = Ticket(client.domain) if client.domain and client.unprivileged else None
        self._cause = ticket
        try:
            reply: Reply | ErrorReply = self._reply(client, request)
        except Refused as refusal:
            reply = ErrorReply(request.request_id, refusal.error, request.transaction)
        finally:
            self._cause = None
        return reply, ticket

    def _reply(self, client: Client, request: Request | BadRequest) -> Reply:
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
        if op is not Op.UNWATCH and _is_too_long(client.absolute(request.path) if request.path else ""):
            raise Refused("EINVAL")
        value: bytes = b""
        if op in HANDLERS:
            nodes = Nodes(client, self.tree, transaction, self.domains, self.quotas, self._fire)
            value, strings = HANDLERS[op](self, nodes, client, request)
        else:
            strings = _OTHERS[op](self, client, request, transaction)
        if sum(len(string) + 1 for string in strings) > PAYLOAD_MAX:
            raise Refused("E2BIG")
        return Reply(request.request_id, op, value, strings, request.transaction)

    # Watches and transactions. Each returns the reply's strings.

    def _watch(self, client: Client, request: Request, _none: Transaction | None) -> tuple[str, ...]:
        relative = request.path[0] not in "/@"
        watch = Watch(client.absolute(request.path), request.arguments[0], client.home if relative else "")
        domain = client.domain if client.unprivileged else None
        if (watch.path, watch.token) not in client.watches and domain and domain.watches > self.quotas.watches:
            raise Refused("E2BIG")
        client.watches.add(watch)
        if client.domain:
            client.domain.watches += 1
        client.notify(watch.shown(watch.path), watch.token, None)
        self.notified.add(client)
        return ()

    def _unwatch(self, client: Client, request: Request, _none: Transaction | None) -> tuple[str, ...]:
        if not request.path:
            raise Refused("ENOENT")
        client.watches.remove(client.absolute(request.path), request.arguments[0])
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
                    client.notify(watch.shown(path), watch.token, self._cause)
                    self.notified.add(client)

    def _may_see(self, client: Client, path: str, node: Node | None, former: Permissions | None) -> bool:
        if path in self.special:
            return bool(access(self.special[path], client.identities) & READ)
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
        domid, _frame, port = map(as_number, request.arguments)
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
        domain = self.domains.introduced(as_number(text))
        if domain is None:
            raise Refused("ENOENT")
        return domain

    def _release(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        if as_number(request.arguments[0]) == 0:
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
        if as_number(request.arguments[0]) == 0:
            raise Refused("EINVAL")
        self._connected(request.arguments[0])
        return ()

    def _set_target(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        domain, target = map(self._connected, request.arguments)
        domain.target = target.domid
        return ()

    def _is_introduced(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        domid = as_number(request.arguments[0])
        return ("T" if domid == _SELF or self.domains.introduced(domid) else "F",)

    def _domain_path(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        return (f"/local/domain/{as_number(request.arguments[0]) % (1 << 32)}",)

    def _control(self, client: Client, request: Request, _transaction: Transaction | None) -> tuple[str, ...]:
        raise Refused("EINVAL")  # what an unknown command gets: there is nothing here to control


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
