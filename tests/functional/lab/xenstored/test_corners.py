"""Quotas, domains that come and go, and odd requests: the lab's daemon does there too what C xenstored does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.xenstored.fakexen import find_xenstored
from tests.support.lab_store import KINDS, AnyReply, Daemon, RawClient, daemon
from vminterface.wire.xenstore import Op, Request


class Scene:
    """A daemon with dom0 connected; guests connect when they are asked for."""

    def __init__(self, store: Daemon, stack: ExitStack) -> None:
        self.store = store
        self._stack = stack
        self.dom0 = self.connect(store.socket_path)

    def connect(self, path: str) -> RawClient:
        client = RawClient(path)
        self._stack.callback(client.close)
        return client

    def guest(self, domid: int, *, own: str = "data") -> RawClient:
        """Introduce a domain whose home has one folder that it owns."""
        self.store.create(domid)
        home = f"/local/domain/{domid}"
        self.dom0.ask(Op.MKDIR, f"{home}/{own}")
        self.dom0.ask(Op.SET_PERMS, home, arguments=("n0", f"r{domid}"))
        self.dom0.ask(Op.SET_PERMS, f"{home}/{own}", arguments=(f"n{domid}",))
        return self.connect(self.store.socket(domid))


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[list[Scene]]:
    with ExitStack() as stack:
        daemons = [daemon(kind, tmp_path / kind) for kind in KINDS]
        for one in daemons:
            stack.enter_context(one)
        yield [Scene(one, stack) for one in daemons]


def counts(replies: list[AnyReply]) -> list[tuple[int, str]]:
    """Return the errnos of a row of answers with how often each came one after the other."""
    row: list[tuple[int, str]] = []
    for error, _value, _strings in replies:
        row = [*row[:-1], (row[-1][0] + 1, error)] if row and row[-1][1] == error else [*row, (1, error)]
    return row


def many_nodes(scene: Scene) -> object:
    guest = scene.guest(1)
    made = [guest.ask(Op.WRITE, f"data/{n // 40}/{n}", b"x") for n in range(1100)]
    gone = guest.ask(Op.RM, "data/0")
    again = [guest.ask(Op.WRITE, f"data/again-{n}") for n in range(60)]
    return counts(made), gone, counts(again), guest.ask(Op.WRITE, "data/deep/er/est", b"")


def many_watches(scene: Scene) -> object:
    guest = scene.guest(1)
    made = [guest.ask(Op.WATCH, f"data/{n}", arguments=("t",)) for n in range(140)]
    again = guest.ask(Op.WATCH, "data/1", arguments=("t",))
    freed = guest.ask(Op.UNWATCH, "data/1", arguments=("t",))
    return counts(made), again, freed, guest.ask(Op.WATCH, "data/x", arguments=("t",))


def many_transactions(scene: Scene) -> object:
    guest = scene.guest(1)
    replies = [guest.ask(Op.TRANSACTION_START) for _ in range(15)]
    dom0 = [scene.dom0.ask(Op.TRANSACTION_START) for _ in range(15)]
    ended = guest.ask(Op.TRANSACTION_END, arguments=("T",), transaction=int(replies[0][2][0]))
    return counts(replies), counts(dom0), ended, guest.ask(Op.TRANSACTION_START)[0]


def value_sizes(scene: Scene) -> object:
    guest = scene.guest(1)
    replies = [guest.ask(Op.WRITE, "data/v", b"v" * size)[0] for size in range(1990, 2060)]
    return counts([(a, b"", ()) for a in replies]), len(guest.ask(Op.READ, "data/v")[1])


def long_lists_of_permissions(scene: Scene) -> object:
    guest = scene.guest(1)
    rows = [tuple(f"r{d}" for d in (1, 0, 1, 0, 1, 0, 1)[:n]) for n in range(1, 8)]
    return [guest.ask(Op.SET_PERMS, "data", arguments=row) for row in rows]


def too_large_in_a_transaction(scene: Scene) -> object:
    guest = scene.guest(1)
    number = int(guest.ask(Op.TRANSACTION_START)[2][0])
    replies = [
        guest.ask(Op.WRITE, "data/small", b"x", transaction=number),
        guest.ask(Op.WRITE, "data/large", b"x" * 2100, transaction=number),
        guest.ask(Op.READ, "data/small", transaction=number),
        guest.ask(Op.TRANSACTION_END, arguments=("T",), transaction=number),
    ]
    return replies, guest.ask(Op.READ, "data/small")


def quota_in_a_transaction(scene: Scene) -> object:
    guest = scene.guest(1)
    for n in range(990):
        guest.ask(Op.WRITE, f"data/{n // 40}/{n}", b"x")
    number = int(guest.ask(Op.TRANSACTION_START)[2][0])
    made = [guest.ask(Op.WRITE, f"data/new/{n}", transaction=number) for n in range(40)]
    return counts(made), guest.ask(Op.TRANSACTION_END, arguments=("T",), transaction=number)


def long_directory(scene: Scene) -> object:
    made = [scene.dom0.ask(Op.WRITE, f"/long/entry-number-{n}") for n in range(400)]
    whole = scene.dom0.ask(Op.DIRECTORY, "/long")
    names: list[str] = []
    offset = 0
    while True:
        part = scene.dom0.ask(Op.DIRECTORY_PART, "/long", arguments=(str(offset),))[2][1:]
        names += [name for name in part if name]
        offset += sum(len(name) + 1 for name in part if name)
        if not part or part[-1] == "":
            return counts(made), whole, names, scene.dom0.ask(Op.DIRECTORY_PART, "/long", arguments=("99999",))[2][1:]


def domain_that_goes(scene: Scene) -> object:
    dom0, guest, other = scene.dom0, scene.guest(1), scene.guest(2)
    guest.ask(Op.WRITE, "data/below/it", b"mine")
    dom0.ask(Op.WRITE, "/local/domain/1/kept", b"dom0's")
    dom0.ask(Op.WRITE, "/shared", b"x")
    dom0.ask(Op.SET_PERMS, "/shared", arguments=("n0", "r1", "w2"))
    dom0.ask(Op.WATCH, "@releaseDomain", arguments=("gone",))
    dom0.ask(Op.WATCH, "@introduceDomain", arguments=("come",))
    dom0.ask(Op.WATCH, "/local/domain/1", arguments=("home",))
    other.ask(Op.WATCH, "@releaseDomain", arguments=("gone",))
    first = dom0.new_events(), other.new_events()
    scene.store.destroy(1)
    while ("@releaseDomain", "gone") not in (told := dom0.new_events()):
        pass
    after = [dom0.ask(Op.READ, path) for path in ("/local/domain/1/data", "/local/domain/1/kept", "/local/domain/1")]
    introduced = dom0.ask(Op.IS_DOMAIN_INTRODUCED, arguments=("1",))
    scene.store.create(1)
    new = scene.connect(scene.store.socket(1))
    old_permission = new.ask(Op.READ, "/shared"), dom0.ask(Op.GET_PERMS, "/shared")
    dom0.ask(Op.SET_PERMS, "/shared", arguments=("n0", "r1"))
    return (
        first,
        told,
        after,
        introduced,
        old_permission,
        new.ask(Op.READ, "/shared"),
        dom0.new_events(),
        other.new_events(),
    )


def special_watches(scene: Scene) -> object:
    dom0, guest = scene.dom0, scene.guest(1)
    refused = guest.ask(Op.SET_PERMS, "@releaseDomain", arguments=("n0", "r1"))
    given = dom0.ask(Op.SET_PERMS, "@releaseDomain", arguments=("n0", "r1"))
    odd = dom0.ask(Op.SET_PERMS, "@somethingElse", arguments=("n0",))
    guest.ask(Op.WATCH, "@releaseDomain", arguments=("gone",))
    guest.ask(Op.WATCH, "@introduceDomain", arguments=("come",))
    guest.new_events()
    scene.guest(2)
    come = guest.new_events()
    scene.store.destroy(2)
    while not (gone := guest.new_events()):
        pass
    # For these two refusals C xenstored names whatever errno was left over from an earlier call.
    assert refused[0] != "OK"
    assert odd[0] != "OK"
    return given, come, gone, guest.ask(Op.WATCH, "@somethingElse", arguments=("x",))


def odd_requests(scene: Scene) -> object:
    dom0, guest = scene.dom0, scene.guest(1)
    asked: list[tuple[RawClient, Op, str, tuple[str, ...], int]] = [
        (dom0, Op.GET_PERMS, "@releaseDomain", (), 0),
        (dom0, Op.SET_PERMS, "/tool", ("n9",), 0),
        (dom0, Op.SET_PERMS, "/tool", ("n0", "r9"), 0),
        (dom0, Op.SET_PERMS, "/tool", ("n0", "r70000"), 0),
        (dom0, Op.INTRODUCE, "", ("9", "1", "1"), 0),
        (dom0, Op.INTRODUCE, "", ("9", "1", "0"), 0),
        (dom0, Op.INTRODUCE, "", ("1", "1", "1"), 0),
        (dom0, Op.RELEASE, "", ("9",), 0),
        (dom0, Op.RELEASE, "", ("0",), 0),
        (dom0, Op.RESUME, "", ("1",), 0),
        (dom0, Op.RESUME, "", ("9",), 0),
        (dom0, Op.SET_TARGET, "", ("1", "9"), 0),
        (dom0, Op.IS_DOMAIN_INTRODUCED, "", ("32752",), 0),
        (dom0, Op.TRANSACTION_END, "", ("T",), 0),
        (dom0, Op.TRANSACTION_END, "", ("T",), 77),
        (dom0, Op.READ, "/tool", (), 77),
        (dom0, Op.WATCH, "/tool", ("t",), 77),
        (dom0, Op.RM, "/", (), 0),
        (dom0, Op.RM, "/none/at/all", (), 0),
        (dom0, Op.RM, "/none", (), 0),
        (dom0, Op.RESET_WATCHES, "", (), 0),
        (dom0, Op.UNWATCH, "/tool", ("t",), 0),
        (guest, Op.INTRODUCE, "", ("9", "1", "1"), 0),
        (guest, Op.RELEASE, "", ("1",), 0),
        (guest, Op.IS_DOMAIN_INTRODUCED, "", ("1",), 0),
        (guest, Op.GET_DOMAIN_PATH, "", ("7",), 0),
        (guest, Op.DIRECTORY, "/", (), 0),
        (guest, Op.READ, "/none/at/all", (), 0),
        (guest, Op.READ, "none", (), 0),
        (guest, Op.READ, "data/none", (), 0),
        (guest, Op.SET_PERMS, "data", ("n0",), 0),
        (guest, Op.RM, "data", (), 0),
    ]
    return [client.ask(op, path, b"", arguments, number) for client, op, path, arguments, number in asked]


def made_and_removed_in_one_transaction(scene: Scene) -> object:
    dom0 = scene.dom0
    dom0.ask(Op.WATCH, "/", arguments=("all",))
    dom0.ask(Op.WRITE, "/keep/old", b"1")
    dom0.new_events()
    number = int(dom0.ask(Op.TRANSACTION_START)[2][0])
    replies = [
        dom0.ask(Op.WRITE, "/brief/a", b"1", transaction=number),
        dom0.ask(Op.RM, "/brief", transaction=number),
        dom0.ask(Op.RM, "/keep/old", transaction=number),
        dom0.ask(Op.WRITE, "/keep/old", b"2", transaction=number),
        dom0.ask(Op.TRANSACTION_END, arguments=("T",), transaction=number),
    ]
    return replies, dom0.new_events(), dom0.ask(Op.DIRECTORY, "/"), dom0.ask(Op.READ, "/keep/old")


def removed_in_a_transaction_that_others_have_outdated(scene: Scene) -> object:
    """Found by a day's random operations: the transaction knows the folder without the node, or no folder at all."""
    dom0, replies = scene.dom0, []
    for first, made in (("/t/a/none", "/t/a/new"), ("/t/b/none", "/t/b/new"), ("/t/c/none/deep", "/t/c/new/deep")):
        dom0.ask(Op.MKDIR, "/t/a/there")
        number = int(dom0.ask(Op.TRANSACTION_START)[2][0])
        replies.append(dom0.ask(Op.READ, first.rpartition("/")[0], transaction=number))
        replies.append(dom0.ask(Op.RM, first, transaction=number))
        dom0.ask(Op.MKDIR, made)
        replies.append(dom0.ask(Op.RM, made, transaction=number))
        replies.append(dom0.ask(Op.READ, made, transaction=number))
        replies.append(dom0.ask(Op.TRANSACTION_END, "", arguments=("T",), transaction=number))
    assert {"EIO", "EINVAL", "EAGAIN"} <= {reply[0] for reply in replies}
    return replies


def device_model(scene: Scene) -> object:
    guest, helper = scene.guest(1), scene.guest(2)
    guest.ask(Op.WRITE, "data/x", b"mine")
    before = helper.ask(Op.READ, "/local/domain/1/data/x")
    scene.dom0.ask(Op.SET_TARGET, arguments=("2", "1"))
    return before, helper.ask(Op.READ, "/local/domain/1/data/x"), helper.ask(Op.WRITE, "/local/domain/1/data/y", b"")


def texts_that_are_no_numbers(scene: Scene) -> object:
    number, pair = Request(Op.GET_DOMAIN_PATH, arguments=("0",)), Request(Op.SET_PERMS, "/tool", arguments=("n0",))
    texts = (b"x", b"-1", b" 7", b"7x", b"", b"99999999999")
    replies = [scene.dom0.ask_raw(number, text + b"\0") for text in texts]
    replies += [
        scene.dom0.ask_raw(Request(op, arguments=("0",)), b"x\0")
        for op in (Op.IS_DOMAIN_INTRODUCED, Op.RELEASE, Op.RESUME)
    ]
    return replies, [
        scene.dom0.ask_raw(pair, b"/tool\0" + text + b"\0") for text in (b"n-1", b"n0\0r-1", b"nx", b"n", b"x0")
    ]


def paths_that_are_none(scene: Scene) -> object:
    dom0, long = scene.dom0, "/" + "a" * 2047
    unwatched = [
        dom0.ask_raw(Request(Op.UNWATCH, "/a", arguments=("t",)), p + b"\0t\0") for p in (b"/a/", b"/a b", b"")
    ]
    home = "/local/domain/1/"
    paths = (long, long + "a", home + "a" * 2048, home + "a" * 2049, "/local/domain/" + "a" * 2048)
    asked = [Request(op, path) for op in (Op.READ, Op.DIRECTORY, Op.RM, Op.GET_PERMS) for path in paths]
    asked += [Request(Op.WATCH, path, arguments=("t",)) for path in paths]
    asked += [Request(Op.SET_PERMS, path, arguments=("n0",)) for path in paths]
    replies = []
    for request in asked:
        words = "".join(f"{word}\0" for word in (request.path, *request.arguments)).encode()
        plain = Request(request.op, "/a", arguments=request.arguments)
        replies.append(dom0.ask_raw(plain, words))
    return unwatched, replies


def own_events_and_the_answer(scene: Scene) -> object:
    """Whether a client's own event comes before the answer to what has caused it, or after it."""
    found = []
    for client in (scene.dom0, scene.guest(1, own="t")):
        where = "/t" if client is scene.dom0 else "t"
        client.ask(Op.WATCH, where, arguments=("w",))
        found.append(("watch", client.before))
        client.new_events()
        for op in (Op.WRITE, Op.MKDIR, Op.RM):
            client.ask(op, f"{where}/x")
            found.append((op.name, client.before))
            client.new_events()
        number = int(client.ask(Op.TRANSACTION_START)[2][0])
        client.ask(Op.WRITE, f"{where}/y", b"1", transaction=number)
        client.ask(Op.TRANSACTION_END, arguments=("T",), transaction=number)
        found.append(("commit", client.before))
        client.new_events()
    scene.dom0.ask(Op.WATCH, "@introduceDomain", arguments=("w",))
    scene.dom0.new_events()
    return found


SCENARIOS: list[Callable[[Scene], object]] = [
    many_nodes, many_watches, many_transactions, value_sizes, long_lists_of_permissions, too_large_in_a_transaction,
    quota_in_a_transaction, long_directory, domain_that_goes, special_watches, odd_requests,
    made_and_removed_in_one_transaction, removed_in_a_transaction_that_others_have_outdated, device_model,
    texts_that_are_no_numbers, paths_that_are_none, own_events_and_the_answer,
]  # fmt: skip


#: The lab's daemon is Xen 4.17's; later ones count a node's bytes otherwise, and give special nodes' permissions.
CHANGED_SINCE = {value_sizes, odd_requests}


@pytest.mark.allow_skip
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_both_daemons_do_the_same(scenes: list[Scene], scenario: Callable[[Scene], object]) -> None:
    ours, real = scenes
    if scenario in CHANGED_SINCE and "xen-4.17" not in str(find_xenstored()):
        pytest.skip(f"{find_xenstored()} differs from Xen 4.17's here, after which the lab's is made")
    assert scenario(ours) == scenario(real)
