"""Whom a VM asks for names: from resolv.conf, or from the answers of systemd-resolved's programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vminterface.errors import ProgramFailed
from vminterface.vm.machine.machine import Machine
from vminterface.vm.net import resolvers


class Answering(Machine):
    """A machine whose programs answer as they are told to; those without an answer are not installed."""

    replies: dict[str, str] = {}  # noqa: RUF012

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.replies else None

    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        if self.replies[argv[0]] == "fails":
            raise ProgramFailed(f"{argv[0]} ended with status 1")
        return self.replies[argv[0]].encode()


@pytest.fixture
def vm(tmp_path: Path) -> Answering:
    return Answering(str(tmp_path))


def current(vm: Answering, resolv_conf: str = "", **replies: str) -> list[str]:
    vm.write_file("/etc/resolv.conf", resolv_conf)
    vm.replies = replies
    return [str(address) for address in resolvers.current(vm)]


def by_bus(*entries: list[int | list[int]]) -> str:
    return json.dumps({"type": "a(iiay)", "data": entries})


def test_of_resolv_conf_all_resolvers_count_in_their_order(vm: Any) -> None:
    text = "# nameserver 9.9.9.9\nnameserver 192.0.2.2\nnameserver fd09::1\n nameserver\t192.0.2.1 x\nnameserver"
    assert current(vm, text) == ["192.0.2.2", "fd09::1", "192.0.2.1"]
    assert resolvers.current(Machine(vm.root + "/nothing")) == ()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.53",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.251",
        "300.1.1.1",
        "here",
        "::1",
        "::",
        "ff02::fb",
        "fe80::1",
        "fe80::1%eth0",
    ],
)
def test_what_requests_cannot_be_sent_on_to_is_left_out(vm: Answering, address: str) -> None:
    assert current(vm, f"nameserver {address}\nnameserver 192.0.2.1\nnameserver 192.0.2.1\n") == ["192.0.2.1"]


def test_systemd_resolved_goes_before_resolv_conf(vm: Answering) -> None:
    vm.write_file(resolvers.RESOLVED, "")
    bus = by_bus([2, 2, [192, 0, 2, 7]], [3, 10, [0xFD, 9, *[0] * 13, 1]], [3, 2, [192, 0, 2, 8]], [3, 1, [1]])
    assert current(vm, "nameserver 192.0.2.1\n", busctl=bus) == ["192.0.2.7", "fd09::1", "192.0.2.8"]
    assert current(vm, "nameserver 192.0.2.1\n", busctl=by_bus()) == []
    shown = "Global:\nLink 2 (eth0): 192.0.2.7 fd09::1\nLink 3 (wg0): 192.0.2.8#name\n"
    assert current(vm, "nameserver 192.0.2.1\n", busctl="fails", resolvectl=shown) == [
        "192.0.2.7", "fd09::1", "192.0.2.8",
    ]  # fmt: skip


def test_resolvers_for_all_links_go_before_those_of_single_ones(vm: Answering) -> None:
    vm.write_file(resolvers.RESOLVED, "")
    assert current(vm, busctl=by_bus([2, 2, [192, 0, 2, 7]], [0, 2, [192, 0, 2, 9]])) == ["192.0.2.9"]
    assert current(vm, resolvectl="Global: 192.0.2.9\nLink 2 (eth0): 192.0.2.7\n") == ["192.0.2.9"]
    shown = "Global: 192.0.2.9\nLink 2 (eth0): 192.0.2.7 fd09::1\n"
    assert current(vm, resolvectl=shown) == ["192.0.2.9", "fd09::1"]


@pytest.mark.parametrize(
    "reply",
    [
        "fails",
        "",
        "{}",
        "[]",
        '{"data": 7}',
        '{"data": [[1]]}',
        '{"data": [[1e999, 2, [1]]]}',
        "[" * 9999,
        by_bus([0, 2, [1]]),
    ],
)
def test_where_systemd_resolved_gives_no_sensible_answer_resolv_conf_counts(vm: Answering, reply: str) -> None:
    vm.write_file(resolvers.RESOLVED, "")
    assert current(vm, "nameserver 192.0.2.1\n", busctl=reply, resolvectl="fails") == ["192.0.2.1"]


def test_nobody_is_asked_where_systemd_resolved_is_not_in_work(vm: Answering) -> None:
    replies = {"busctl": by_bus([0, 2, [192, 0, 2, 9]]), "resolvectl": "Global: 192.0.2.9\n"}
    assert current(vm, "nameserver 192.0.2.1\n", **replies) == ["192.0.2.1"]


def test_the_stamp_changes_with_either_file(vm: Answering) -> None:
    stamps = [resolvers.stamp(vm)]
    for path in (resolvers.RESOLV_CONF, resolvers.RESOLVED):
        vm.write_file(path, "nameserver 192.0.2.1\n")
        stamps.append(resolvers.stamp(vm))
    assert len(set(stamps)) == 3
