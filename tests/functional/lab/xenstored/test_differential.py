"""The lab's XenStore daemon answers as C xenstored does: the same random operations on both, no difference."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import seeds
from tests.support.lab_store import KINDS, AnyReply, RawClient, daemon
from vminterface.wire.xenstore import Op

#: 12,000 operations in all.
RUNS, OPERATIONS = range(4), 3000
GUESTS = (1, 2)
SLOTS = 2

_NAMES = ("a", "b", "c", "d-e", "F_9", "x@")
_TOPS = ("/t", "/t/u", "/local/domain/1", "/local/domain/2", "/local/domain/1/data", "", "/")
_TOKENS = ("t1", "t2", "")


@dataclass(frozen=True)
class Step:
    """One operation of one client; *slot* is the transaction that it is in, if any is open there."""

    client: int
    op: Op
    path: str = ""
    value: bytes = b""
    arguments: tuple[str, ...] = ()
    slot: int | None = None


def random_path(rng: random.Random) -> str:
    top = rng.choice(_TOPS)
    names = [rng.choice(_NAMES) for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3)))]
    return "/".join([top.rstrip("/"), *names]).removeprefix("" if top else "/") or "/"


def random_permissions(rng: random.Random) -> tuple[str, ...]:
    count = rng.choice((1, 1, 2, 2, 3, 6))
    return tuple(f"{rng.choice('nrwb')}{rng.choice((0, 0, 1, 1, 2, 2, 9))}" for _ in range(count))


def random_step(rng: random.Random) -> Step:
    client = rng.choice((0, 0, 1, 1, 2))
    slot = rng.choice((None, None, 0, 1))
    op = rng.choice(
        [Op.READ] * 4 + [Op.WRITE] * 6 + [Op.MKDIR] * 2 + [Op.RM] * 3 + [Op.DIRECTORY] * 3 + [Op.GET_PERMS] * 3
        + [Op.SET_PERMS] * 3 + [Op.TRANSACTION_START] * 2 + [Op.TRANSACTION_END] * 3 + [Op.WATCH, Op.UNWATCH]
        + [Op.DIRECTORY_PART, Op.IS_DOMAIN_INTRODUCED, Op.GET_DOMAIN_PATH]
    )  # fmt: skip
    path = random_path(rng)
    if op is Op.WRITE:
        size = rng.choice((0, 1, 5, 20, 200, 1900, 2100))
        return Step(client, op, path, bytes(rng.randrange(256) for _ in range(size)), (), slot)
    if op is Op.SET_PERMS:
        return Step(client, op, path, b"", random_permissions(rng), slot)
    if op in (Op.WATCH, Op.UNWATCH):
        # A guest's kernel tells watches apart by the path as it was written: one way of writing for each path.
        path = path.removeprefix(f"/local/domain/{client}/") if client else path
        path = rng.choice((path, path, "@releaseDomain", "@introduceDomain"))
        return Step(client, op, path, b"", (rng.choice(_TOKENS),), slot)
    if op is Op.TRANSACTION_END:
        return Step(client, op, "", b"", (rng.choice("TTTF"),), slot)
    if op is Op.TRANSACTION_START:
        return Step(client, op, slot=rng.choice((0, 1)))
    if op in (Op.IS_DOMAIN_INTRODUCED, Op.GET_DOMAIN_PATH):
        return Step(client, op, "", b"", (rng.choice(("0", "1", "2", "9")),))
    if op is Op.DIRECTORY_PART:
        return Step(client, op, path, b"", ("0",), slot)
    return Step(client, op, path, b"", (), slot)


class Side:
    """One daemon with dom0 and the guests connected, and the transactions that are open."""

    def __init__(self, kind: str, root: Path, stack: ExitStack) -> None:
        store = daemon(kind, root)
        stack.enter_context(store)
        paths = [store.socket_path]
        for domid in GUESTS:
            store.create(domid)
            paths.append(store.socket(domid))
        self.clients = [RawClient(path) for path in paths]
        for client in self.clients:
            stack.callback(client.close)
        self.transactions: dict[tuple[int, int], int] = {}
        dom0 = self.clients[0]
        for domid in GUESTS:
            home = f"/local/domain/{domid}"
            for path, permissions in ((home, ("n0", f"r{domid}")), (f"{home}/data", (f"n{domid}",))):
                assert dom0.ask(Op.MKDIR, path)[0] == "OK"
                assert dom0.ask(Op.SET_PERMS, path, arguments=permissions)[0] == "OK"

    def do(self, step: Step) -> AnyReply:
        number = self.transactions.get((step.client, step.slot), 0) if step.slot is not None else 0
        client = self.clients[step.client]
        if step.op is Op.TRANSACTION_START and step.slot is not None:
            if number:  # one more inside of that one
                return client.ask(step.op, transaction=number)
            reply = client.ask(step.op)
            if reply[0] == "OK":
                self.transactions[step.client, step.slot] = int(reply[2][0])
            return (reply[0], b"", ())
        if step.op in (Op.WATCH, Op.UNWATCH):
            number = 0
        reply = client.ask(step.op, step.path, step.value, step.arguments, number)
        if step.op is Op.TRANSACTION_END and step.slot is not None:
            self.transactions.pop((step.client, step.slot), None)
        if step.op is Op.DIRECTORY_PART and reply[0] == "OK":
            return (reply[0], b"", reply[2][1:])  # without the generation, which is the daemon's own
        return reply

    def events(self) -> list[set[tuple[str, str]]]:
        return [client.new_events() for client in self.clients]

    def tree(self, path: str = "/") -> dict[str, tuple[AnyReply, AnyReply]]:
        dom0 = self.clients[0]
        found = {path: (dom0.ask(Op.READ, path), dom0.ask(Op.GET_PERMS, path))}
        for name in dom0.ask(Op.DIRECTORY, path)[2]:
            found.update(self.tree(f"{path.rstrip('/')}/{name}"))
        return found


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        yield [Side(kind, tmp_path / kind, stack) for kind in KINDS]


@pytest.mark.parametrize("run", RUNS)
def test_random_operations_have_the_same_answers_and_events_on_both(sides: list[Side], run: int) -> None:
    rng = seeds.chance(f"operations {run}")
    ours, real = sides
    replies: dict[str, int] = {}
    for number in range(OPERATIONS):
        step = random_step(rng)
        got, expected = ours.do(step), real.do(step)
        assert got == expected, f"operation {number}: {step}; {seeds.replay()}"
        assert ours.events() == real.events(), f"events of operation {number}: {step}; {seeds.replay()}"
        replies[got[0]] = replies.get(got[0], 0) + 1
    assert ours.tree() == real.tree()
    # The mixture is worth something only if it reaches all of this.
    assert {"OK", "ENOENT", "EACCES", "EAGAIN", "ENOSPC", "EINVAL"} <= set(replies), replies
