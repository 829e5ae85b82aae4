"""NetworkManager put to sleep and woken over D-Bus: one of python-dbusmock, with the real one's method and refusals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bus import Mock, lack_of_mocks, mocked
from tests.support.handlers import VM
from tests.support.stores import need

NAME, PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
#: As NetworkManager's own method does. It has to be a boolean that comes: any text, "false" too, would be true here.
SLEEP = """
if getattr(self, "asleep", False) == args[0]:
    said = "Already asleep" if args[0] else "Already awake"
    raise dbus.exceptions.DBusException(said, name="org.freedesktop.NetworkManager.AlreadyAsleepOrAwake")
self.asleep = bool(args[0])
"""
PRE, POST = "qubes.SuspendPre", "qubes.SuspendPost"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Mock]:
    need(lack_of_mocks())
    with mocked(tmp_path, NAME, PATH) as one:
        one.method("Sleep", "b", SLEEP)
        yield one


@pytest.fixture(params=["busctl", "dbus-send"])
def vm(request: pytest.FixtureRequest, tmp_path: Path) -> VM:
    """A VM with NetworkManager and one of the two programs that can speak to it; whoever stops it is noted."""
    one = VM(tmp_path / "vm")
    one.write("run/qubes-service/network-manager")
    one.write("bin/systemctl", f'#!/bin/sh\necho "$*" >>{one.root}/asked\n', 0o755)
    (one.root / "bin" / request.param).symlink_to(shutil.which(request.param) or "/nowhere")
    (one.root / "bin/env").symlink_to("/usr/bin/env")
    return one


def call(vm: VM, service: str, manager: Mock) -> None:
    reply = vm.call(service, PATH=f"{vm.root}/bin", DBUS_SYSTEM_BUS_ADDRESS=manager.address)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")


def test_it_sleeps_and_wakes_and_is_left_where_it_does_already(vm: VM, manager: Mock) -> None:
    refused = "Sleep raised: org.freedesktop.NetworkManager.AlreadyAsleepOrAwake: Already"
    call(vm, PRE, manager)
    assert manager.calls() == ["Sleep True"]
    call(vm, PRE, manager)
    assert manager.calls() == ["Sleep True", f"{refused} asleep"]
    call(vm, POST, manager)
    assert manager.calls() == ["Sleep False"]
    call(vm, POST, manager)
    assert manager.calls() == ["Sleep False", f"{refused} awake"]
    assert not (vm.root / "asked").exists()


def test_where_it_is_not_on_the_bus_it_is_stopped_and_started(vm: VM, manager: Mock) -> None:
    manager.end()
    call(vm, PRE, manager)
    call(vm, POST, manager)
    assert vm.read("asked") == "stop NetworkManager.service\nstart NetworkManager.service\n"
