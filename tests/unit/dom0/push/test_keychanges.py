"""What a push writes where the VM sees other keys than dom0, and what it can put back there."""

from __future__ import annotations

from typing import cast

import pytest

from tests.support.memorystore import MemoryStore
from vminterface import keys
from vminterface.channel.store import Write
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.inventory import observed
from vminterface.dom0.inventory.targets import Targets
from vminterface.dom0.push import keychanges
from vminterface.dom0.push.acknowledgements import to_be_given_anew
from vminterface.dom0.push.outcome import Outcome, Work
from vminterface.errors import DeadlineExceeded
from vminterface.values.change import Change

HELD = {
    "/name": b"work",
    "/vminterface/agent": b"1 0.1.0 services timezone",
    "/qubes-service/cups": b"1",
    "/qubes-timezone": b"UTC",
    "/vminterface/ack/services": b"ok 0000000000000000 on: crond",
}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(HELD)


def write(store: MemoryStore) -> list[tuple[str, bytes | None]]:
    """Push what the store already holds; return what is written, None for what is removed."""
    target = store.target("work")
    settings = VMSettings.parse("work", {"services": {"cups": True, "clocksync": "default"}, "timezone": "UTC"})
    work = Work(settings, target, observed.read([target])["work"], Outcome("work"))
    keychanges.write(work, to_be_given_anew(work))
    done = [one for one in store.done if not one.path.endswith(keys.PUSH)]
    return [(one.path, one.value if isinstance(one, Write) else None) for one in done]


def test_all_keys_are_written_again_for_a_vm_that_has_seen_other_ones(store: MemoryStore) -> None:
    """The daemon in the VM hears of a removal only where dom0's has had the key."""
    assert write(store) == [
        ("/vminterface/ack/services", b"pending"),
        ("/qubes-service/cups", b"1"),
        ("/qubes-service/clocksync", b""),
        ("/qubes-service/clocksync", None),
    ]


def test_a_vm_that_sees_the_same_is_written_nothing(store: MemoryStore) -> None:
    store.keys["/vminterface/ack/services"] = b"ok 46b8b33eeecb08e3 on: cups"
    assert write(store) == []


def written_afresh() -> tuple[MemoryStore, Work]:
    """Push to a VM whose QubesDB daemon in dom0 was started afresh: it may have had both keys before."""
    store = MemoryStore({"/vminterface/agent": b"1 0.1.0 services timezone"})
    target = store.target("work")
    settings = VMSettings.parse("work", {"timezone": "UTC", "debug": True})
    outcome = Outcome("work", {"debug": Change(None, True), "timezone": Change(None, "UTC")})
    texts = {"debug": Change(None, "1"), "timezone": Change(None, "UTC")}
    work = Work(settings, target, observed.read([target])["work"], outcome, texts=texts)
    keychanges.write(work, to_be_given_anew(work))
    return store, work


def test_a_value_that_dom0_has_lost_cannot_be_put_back_and_the_error_says_so() -> None:
    store, work = written_afresh()
    work.fail(DeadlineExceeded("work: the agent did not acknowledge timezone within 5 s"))
    keychanges.restore(work, cast(Targets, None))
    assert store.keys.get("/qubes-timezone") is None
    assert work.outcome.comment() == (
        "work: the agent did not acknowledge timezone within 5 s;"
        " debug, timezone is removed, as dom0 has lost the former value"
    )
    assert work.outcome.restored is False


def test_what_another_program_has_set_meanwhile_is_named_beside_it() -> None:
    store, work = written_afresh()
    store.keys["/qubes-timezone"] = b"Europe/Warsaw"
    work.fail(DeadlineExceeded("work: no reply"))
    keychanges.restore(work, cast(Targets, None))
    assert store.keys["/qubes-timezone"] == b"Europe/Warsaw"
    assert work.outcome.comment() == (
        "work: no reply; debug is removed, as dom0 has lost the former value;"
        " timezone was set by another program meanwhile and is kept"
    )
