"""The lab's XenStore, request by request, without any socket."""

from __future__ import annotations

import pytest

from lab.xenstored.client import Client
from lab.xenstored.domains import Domain, Quotas
from lab.xenstored.store import Store
from vminterface.wire.xenstore import ErrorReply, Op, Request

HOME = "/local/domain/3"


class World:
    """A store with dom0 and guest 3, whose home is readable to it and has ``own`` that it owns."""

    def __init__(self, quotas: Quotas | None = None) -> None:
        self.existing = {3, 4}
        self.store = Store(lambda domid: domid in self.existing, quotas)
        self.dom0 = self.store.connect()
        self.guest = self.introduce(3)
        self.ok(Op.MKDIR, f"{HOME}/own")
        self.ok(Op.SET_PERMS, HOME, "n0", "r3")
        self.ok(Op.SET_PERMS, f"{HOME}/own", "n3")

    def introduce(self, domid: int) -> Client:
        self.ok(Op.INTRODUCE, "", str(domid), "1", "1")
        return self.store.connect(self.store.domains.introduced(domid))

    def ask(self, client: Client, op: Op, path: str = "", *words: str, value: bytes = b"", tx: int = 0) -> object:
        """Return the errno, the value, or the strings."""
        reply, ticket = self.store.handle(client, Request(op, path, value, words, tx, 1))
        if ticket:
            ticket.release()
        if isinstance(reply, ErrorReply):
            return reply.error
        return reply.value if op is Op.READ else reply.strings

    def ok(self, op: Op, path: str = "", *words: str, value: bytes = b"", tx: int = 0) -> object:
        reply = self.ask(self.dom0, op, path, *words, value=value, tx=tx)
        assert not isinstance(reply, str), reply
        return reply

    def begin(self, client: Client) -> int:
        reply = self.ask(client, Op.TRANSACTION_START)
        assert isinstance(reply, tuple)
        return int(reply[0])


def events(client: Client) -> list[tuple[str, str]]:
    taken = []
    while event := client.take_event():
        taken.append(event)
    return taken


@pytest.fixture
def world() -> World:
    return World()


def test_a_write_makes_the_missing_parents(world: World) -> None:
    world.ok(Op.WRITE, "/x/y/z", value=b"1")
    assert world.ok(Op.READ, "/x/y") == b""
    assert world.ok(Op.DIRECTORY, "/x") == ("y",)


def test_children_are_listed_in_the_order_of_their_making(world: World) -> None:
    for name in ("z", "a", "m"):
        world.ok(Op.MKDIR, f"/x/{name}")
    assert world.ok(Op.DIRECTORY, "/x") == ("z", "a", "m")


def test_removing_what_is_not_there_is_fine_if_its_parent_is(world: World) -> None:
    assert world.ok(Op.RM, "/none") == ()
    assert world.ask(world.dom0, Op.RM, "/none/at/all") == "ENOENT"
    assert world.ask(world.dom0, Op.RM, "/") == "EINVAL"


def test_a_new_node_inherits_its_parents_permissions(world: World) -> None:
    world.ok(Op.MKDIR, f"{HOME}/new")
    assert world.ok(Op.GET_PERMS, f"{HOME}/new") == ("n0", "r3")


def test_a_guest_owns_what_it_makes(world: World) -> None:
    world.ok(Op.SET_PERMS, f"{HOME}/own", "b0", "b3")
    world.ask(world.guest, Op.WRITE, "own/x")
    assert world.ok(Op.GET_PERMS, f"{HOME}/own/x") == ("b3", "b3")


def test_a_guest_learns_of_absence_only_where_it_may_look(world: World) -> None:
    assert world.ask(world.guest, Op.READ, "none") == "ENOENT"
    assert world.ask(world.guest, Op.READ, "/none") == "EACCES"
    assert world.ask(world.guest, Op.WRITE, "none") == "EACCES"


def test_only_the_owner_changes_permissions_and_only_dom0_the_owner(world: World) -> None:
    assert world.ask(world.guest, Op.SET_PERMS, HOME, "n3") == "EACCES"
    assert world.ask(world.guest, Op.SET_PERMS, "own", "n0") == "EPERM"
    assert world.ask(world.guest, Op.SET_PERMS, "own", "n3", "r0") == ()


def test_a_watch_fires_at_once_and_for_everything_below(world: World) -> None:
    world.ok(Op.WATCH, "/x", "t")
    assert events(world.dom0) == [("/x", "t")]
    world.ok(Op.WRITE, "/x/y/z")
    world.ok(Op.WRITE, "/xy")
    assert events(world.dom0) == [("/x/y/z", "t")]


def test_a_removal_tells_those_below_of_their_own_path(world: World) -> None:
    world.ok(Op.WRITE, "/x/y/z")
    world.ok(Op.WATCH, "/x/y/z", "deep")
    world.ok(Op.WATCH, "/", "all")
    events(world.dom0)
    world.ok(Op.RM, "/x")
    assert sorted(events(world.dom0)) == [("/x", "all"), ("/x/y/z", "deep")]


def test_a_guest_sees_paths_as_it_named_them_and_only_readable_ones(world: World) -> None:
    world.ask(world.guest, Op.WATCH, "own", "rel")
    world.ask(world.guest, Op.WATCH, "/", "abs")
    events(world.guest)
    world.ok(Op.WRITE, f"{HOME}/own/x")
    world.ok(Op.WRITE, "/hidden/x")
    assert events(world.guest) == [("own/x", "rel"), (f"{HOME}/own/x", "abs")]


def test_equal_events_that_wait_are_merged(world: World) -> None:
    world.ok(Op.WATCH, "/x", "t")
    for _ in range(5):
        world.ok(Op.WRITE, "/x")
    assert events(world.dom0) == [("/x", "t")]


def test_a_transaction_tells_nobody_before_its_commit(world: World) -> None:
    world.ok(Op.WATCH, "/x", "t")
    events(world.dom0)
    number = world.begin(world.dom0)
    world.ok(Op.WRITE, "/x/a", tx=number)
    assert events(world.dom0) == []
    assert world.ask(world.dom0, Op.READ, "/x/a") == "ENOENT"
    world.ok(Op.TRANSACTION_END, "", "T", tx=number)
    assert events(world.dom0) == [("/x/a", "t")]


def test_a_commit_after_interference_is_refused_and_changes_nothing(world: World) -> None:
    number = world.begin(world.dom0)
    world.ok(Op.WRITE, "/x", value=b"mine", tx=number)
    world.ok(Op.WRITE, "/x", value=b"theirs")
    assert world.ask(world.dom0, Op.TRANSACTION_END, "", "T", tx=number) == "EAGAIN"
    assert world.ok(Op.READ, "/x") == b"theirs"


def test_an_aborted_transaction_leaves_nothing(world: World) -> None:
    number = world.begin(world.dom0)
    world.ok(Op.WRITE, "/x", tx=number)
    world.ok(Op.TRANSACTION_END, "", "F", tx=number)
    assert world.ask(world.dom0, Op.READ, "/x") == "ENOENT"
    assert world.ask(world.dom0, Op.TRANSACTION_END, "", "F", tx=number) == "ENOENT"


def test_release_removes_what_the_domain_owned_and_tells_dom0(world: World) -> None:
    released: list[Domain] = []
    world.store.on_released = released.append
    world.ask(world.guest, Op.WRITE, "own/x")
    world.ok(Op.WATCH, "@releaseDomain", "gone")
    events(world.dom0)
    world.ok(Op.RELEASE, "", "3")
    assert [domain.domid for domain in released] == [3]
    assert events(world.dom0) == [("@releaseDomain", "gone")]
    assert world.ok(Op.DIRECTORY, HOME) == ()
    assert world.ok(Op.IS_DOMAIN_INTRODUCED, "", "3") == ("F",)


def test_a_later_domain_of_the_same_number_inherits_no_permissions(world: World) -> None:
    world.ok(Op.WRITE, "/shared", value=b"x")
    world.ok(Op.SET_PERMS, "/shared", "n0", "r3")
    assert world.ask(world.guest, Op.READ, "/shared") == b"x"
    world.ok(Op.RELEASE, "", "3")
    again = world.introduce(3)
    assert world.ask(again, Op.READ, "/shared") == "EACCES"
    world.ok(Op.SET_PERMS, "/shared", "n0", "r3")
    assert world.ask(again, Op.READ, "/shared") == b"x"


@pytest.mark.parametrize(
    ("quotas", "op", "words", "allowed", "error"),
    [
        (Quotas(watches=2), Op.WATCH, ("t",), 3, "E2BIG"),
        (Quotas(transactions=2), Op.TRANSACTION_START, (), 3, "ENOSPC"),
        (Quotas(nodes=4), Op.MKDIR, (), 3, "ENOSPC"),
    ],
)
def test_a_guest_has_quotas(quotas: Quotas, op: Op, words: tuple[str, ...], allowed: int, error: str) -> None:
    world = World(quotas)
    paths = ["" if op is Op.TRANSACTION_START else f"own/{n}" for n in range(allowed + 1)]
    replies = [world.ask(world.guest, op, path, *words) for path in paths]
    assert error not in replies[:-1]
    assert replies[-1] == error
    assert all(world.ask(world.dom0, op, path and f"/{path}", *words) != error for path in paths)


def test_a_request_of_a_guest_is_outstanding_until_its_events_are_delivered(world: World) -> None:
    world.ok(Op.WATCH, HOME, "t")
    events(world.dom0)
    domain = world.guest.domain
    assert domain is not None
    world.ask(world.guest, Op.WRITE, "own/x")
    assert domain.outstanding == 1
    events(world.dom0)
    assert domain.outstanding == 0
    world.ask(world.guest, Op.READ, "own/x")
    assert domain.outstanding == 0


def test_a_client_that_leaves_frees_what_it_had(world: World) -> None:
    world.ask(world.guest, Op.WATCH, "own", "t")
    world.begin(world.guest)
    domain = world.guest.domain
    assert domain is not None
    world.store.disconnect(world.guest)
    assert (domain.watches, domain.transactions) == (0, 0)
    world.ok(Op.WRITE, f"{HOME}/own/x")
