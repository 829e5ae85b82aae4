"""The events of the lab's qubesd: their form on the wire, and their order, as Qubes' sources have it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lab.qubesd import Qubesd
from tests.support.qubesdcalls import Vm


@contextmanager
def stream(daemon: Qubesd, vm: str = "dom0") -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(daemon.path))
        connection.sendall(f"admin.Events+ dom0 name {vm}\0".encode())
        connection.shutdown(socket.SHUT_WR)
        first = b"1\0\0connection-established\0\0"
        assert connection.recv(len(first), socket.MSG_WAITALL) == first
        yield connection


def received(connection: socket.socket, last: bytes) -> bytes:
    data = b""
    while not data.endswith(last):
        data += connection.recv(65536)
    return data


def test_an_event_is_a_one_its_vm_its_name_and_pairs_that_an_empty_key_ends(qubesd: Qubesd, work: Vm) -> None:
    with stream(qubesd) as connection:
        work.feature("x", "")
        last = b"1\0work\0domain-feature-set:x\0feature\0x\0value\0\0\0"
        assert received(connection, last) == b"1\0work\0domain-feature-pre-set:x\0feature\0x\0value\0\0\0" + last
        work.set("netvm", "")
        values = b"name\0netvm\0newvalue\0None\0oldvalue\0sys-net\0\0"
        received(connection, b"1\0work\0property-set:netvm\0" + values)


def test_an_old_value_is_there_where_the_property_had_one(qubesd: Qubesd, work: Vm) -> None:
    with stream(qubesd) as connection:
        work.set("ip6", "fd09::a")
        values = b"name\0ip6\0newvalue\0fd09::a\0oldvalue\0None\0\0"
        received(connection, b"1\0work\0property-set:ip6\0" + values)
        work.call("property.Reset", "label")
        received(connection, b"1\0work\0property-del:label\0name\0label\0oldvalue\0blue\0\0")
        work.set("label", "red")
        received(connection, b"1\0work\0property-set:label\0name\0label\0newvalue\0red\0\0")


def test_a_stream_of_one_vm_has_its_events_alone(qubesd: Qubesd, work: Vm) -> None:
    with stream(qubesd, "work") as connection:
        Vm(qubesd, "personal").feature("x", "1")
        work.feature("x", "1")
        data = received(connection, b"domain-feature-set:x\0feature\0x\0value\x001\0\0")
        assert b"personal" not in data


def test_a_stream_ends_with_its_daemon(qubesd: Qubesd) -> None:
    with stream(qubesd) as connection:
        qubesd.stop_listening()
        assert connection.recv(1) == b""
    qubesd.start_listening()
    with stream(qubesd):
        assert qubesd.events.listeners >= 1


def happened(qubesd: Qubesd, *names: str) -> list[tuple[str, str]]:
    """What happened, of these names, since this was asked for the last time."""
    found = [one for one in qubesd.events.log if one[1] in names]
    qubesd.events.log.clear()
    return found


def test_the_events_of_a_start_and_an_end_are_in_order(qubesd: Qubesd, work: Vm) -> None:
    work.call("Start")
    start = ["domain-pre-start", "domain-pre-spawn", "domain-spawn", "domain-qdb-create", "domain-pre-unpaused"]
    start += ["domain-unpaused", "domain-start"]
    assert [event for vm, event in happened(qubesd, *start) if vm == "work"] == start
    work.call("Shutdown")
    end = ("domain-pre-shutdown", "domain-stopped", "domain-shutdown")
    assert happened(qubesd, *end) == [("work", event) for event in end]


def test_another_netvm_is_an_event_when_all_of_it_is_done(qubesd: Qubesd, work: Vm) -> None:
    qubesd.start_vm("work")
    qubesd.events.log.clear()
    work.set("netvm", "sys-net")
    assert qubesd.events.log == [
        ("work", "property-pre-set:netvm"),
        ("work", "domain-qdb-create"),
        ("sys-net", "net-domain-connect"),
        ("work", "property-set:netvm"),
    ]


def test_a_reset_of_netvm_is_a_set_too_where_it_changes_something(qubesd: Qubesd, work: Vm) -> None:
    work.set("netvm", "")
    qubesd.events.log.clear()
    names = ("property-set:netvm", "property-reset:netvm")
    work.call("property.Reset", "netvm")
    assert happened(qubesd, *names) == [("work", "property-set:netvm"), ("work", "property-reset:netvm")]
    work.call("property.Reset", "netvm")
    assert happened(qubesd, *names) == [("work", "property-reset:netvm")]


@pytest.mark.parametrize("verb", ["Set", "Reload"])
def test_a_firewall_that_is_set_or_reloaded_has_changed(qubesd: Qubesd, work: Vm, verb: str) -> None:
    work.call(f"firewall.{verb}", "", "action=accept" if verb == "Set" else "")
    assert qubesd.events.log == [("work", "firewall-changed")]


def test_what_failed_after_it_was_stored_is_no_event(qubesd: Qubesd, work: Vm) -> None:
    qubesd.start_vm("work")
    qubesd.faults.dead_qubesdb.add("work")
    qubesd.events.log.clear()
    work.feature("service.cups", "1")
    assert [event for _, event in qubesd.events.log] == ["domain-feature-pre-set:service.cups"]
