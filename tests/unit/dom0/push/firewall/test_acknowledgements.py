"""A provider acknowledges rules by its count after a second notification; it has each client's time for that."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from tests.support.memorystore import MemoryStore
from tests.support.virtualtime import Clock
from vminterface.channel.store import Write
from vminterface.deadline import Deadline
from vminterface.dom0.desired.firewall import ClientFirewall
from vminterface.dom0.desired.settings import VMSettings
from vminterface.dom0.push.firewall.acknowledgements import Notified, wait
from vminterface.dom0.push.firewall.client import Client
from vminterface.errors import Interrupted, StoreError
from vminterface.values.address import parse_ipv4, parse_ipv6

HANDLED = "/qubes-firewall-handled"


def notified(store: MemoryStore, vm: str, ip: str, *, ip6: str | None = None, timeout: float = 5.0) -> Notified:
    """A client whose rules are written, and of which the provider is about to be notified."""
    parsed: Any = ClientFirewall.parse({"netvm": "sys-net", "policy": "drop"})
    firewall = replace(parsed, ip=parse_ipv4(ip), ip6=None if ip6 is None else parse_ipv6(ip6))
    client = Client(VMSettings(vm, firewall=firewall, timeout=timeout), store.target("sys-net"))
    assert client.compare()
    client.write()
    one = Notified.about_to_be(client)
    store.done.clear()
    return one


def test_the_counts_before_are_those_that_are_there(clock: Clock) -> None:
    store = MemoryStore({f"{HANDLED}/10.0.0.9": b"4", f"{HANDLED}/10.0.0.1": b"7"})
    one = notified(store, "work", "10.0.0.1", ip6="fd09::1")
    assert (one.counts, one.known) == ({f"{HANDLED}/10.0.0.1": b"7", f"{HANDLED}/fd09::1": None}, True)
    assert (one.twice, one.error) == (set(), None)
    fresh = notified(MemoryStore(), "work", "10.0.0.1")
    assert (fresh.counts, fresh.known) == ({f"{HANDLED}/10.0.0.1": None}, False)


def test_the_first_count_is_answered_with_a_second_notification_and_the_second_is_the_acknowledgement(
    clock: Clock,
) -> None:
    store = MemoryStore(clock=clock)
    one = notified(store, "work", "10.0.0.1")

    def once() -> None:
        store.keys[f"{HANDLED}/10.0.0.1"] = b"1"

    def twice() -> None:
        assert store.done == [Write("/qubes-firewall/10.0.0.1", b"")]
        store.keys[f"{HANDLED}/10.0.0.1"] = b"2"

    # An event that is about something else comes between them.
    store.meanwhile = [once, lambda: None, twice]
    wait([one], threading.Event())
    assert (one.counts, one.known, one.error) == ({}, True, None)
    assert (len(store.waits), len(store.done)) == (3, 1)
    assert store.watched == [f"{HANDLED}/10.0.0.1"]


def test_both_addresses_have_to_be_handled(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    one = notified(store, "work", "10.0.0.1", ip6="fd09::1")
    four, six = f"{HANDLED}/10.0.0.1", f"{HANDLED}/fd09::1"
    store.meanwhile = [
        lambda: store.keys.update({four: b"1"}),
        lambda: store.keys.update({four: b"2", six: b"1"}),
        lambda: store.keys.update({six: b"2"}),
    ]
    wait([one], threading.Event())
    assert one.counts == {}
    assert [done.path for done in store.done] == ["/qubes-firewall/10.0.0.1", "/qubes-firewall/fd09::1"]
    assert clock.now == 0.0


def test_they_are_handled_in_any_order(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    one = notified(store, "work", "10.0.0.1", ip6="fd09::1")
    six = f"{HANDLED}/fd09::1"
    store.meanwhile = [lambda: store.keys.update({six: b"1"}), lambda: store.keys.update({six: b"2"})]
    wait([one], threading.Event())
    assert one.counts == {f"{HANDLED}/10.0.0.1": None}


def test_a_count_that_does_not_move_is_waited_for_as_long_as_the_vm_has(clock: Clock) -> None:
    clock.now = 100.0
    store = MemoryStore({f"{HANDLED}/10.0.0.1": b"7"}, clock=clock)
    one = notified(store, "work", "10.0.0.1")
    wait([one], threading.Event())
    assert (one.counts, one.known, store.done) == ({f"{HANDLED}/10.0.0.1": b"7"}, True, [])
    assert clock.now == pytest.approx(105.0)
    until = one.deadline(Deadline(100.0, 0.0))
    assert (until.expires, until.seconds) == (105.0, 5.0)


def test_the_time_of_one_client_does_not_end_that_of_another(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    quick = notified(store, "quick", "10.0.0.1", timeout=0.3)
    patient = notified(store, "patient", "10.0.0.2", timeout=2.0)
    wait([patient, quick], threading.Event())
    assert clock.now == pytest.approx(2.0)
    # In parts of 0.2 s, and no longer than the first has left.
    assert store.waits[:3] == [0.2, pytest.approx(0.1), 0.2]
    assert (quick.error, patient.error) == (None, None)


def test_the_wait_ends_when_this_program_is_to_end(clock: Clock) -> None:
    store, stop = MemoryStore(clock=clock), threading.Event()
    done, left = notified(store, "done", "10.0.0.1"), notified(store, "left", "10.0.0.2")
    store.meanwhile = [
        lambda: store.keys.update({f"{HANDLED}/10.0.0.1": b"1"}),
        lambda: store.keys.update({f"{HANDLED}/10.0.0.1": b"2"}),
        stop.set,
    ]
    wait([done, left], stop)
    assert done.error is None
    assert isinstance(left.error, Interrupted)
    assert str(left.error) == "left: interrupted before sys-net handled its firewall"
    assert clock.now == 0.0


def test_an_error_of_the_store_is_that_of_all_that_are_not_handled_yet(clock: Clock) -> None:
    store = MemoryStore(clock=clock)
    done, left = notified(store, "done", "10.0.0.1"), notified(store, "left", "10.0.0.2")
    error = StoreError("gone")
    store.meanwhile = [
        lambda: store.keys.update({f"{HANDLED}/10.0.0.1": b"1"}),
        lambda: store.keys.update({f"{HANDLED}/10.0.0.1": b"2"}),
        lambda: store.fails.update({f"{HANDLED}/10.0.0.2": error}),
    ]
    wait([done, left], threading.Event())
    assert (done.error, left.error) == (None, error)


def test_nobody_is_waited_for_where_nobody_was_notified() -> None:
    wait([], threading.Event())
