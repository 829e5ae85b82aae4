"""WaitForRunningSystem: it ends when the VM has started all there is to start; systemctl is a stand-in."""

from __future__ import annotations

import os
import time

import pytest

from tests.support.agentcall import Running
from tests.support.handlers import VM, Reply

SERVICE = "qubes.WaitForRunningSystem"


@pytest.fixture
def vm(vm: VM) -> VM:
    vm.write("etc/vminterface/handlers.conf", "system-timeout = 2\n")
    (vm.root / "run/systemd/system").mkdir(parents=True)
    return vm


def systemctl(vm: VM, script: str) -> None:
    vm.write("bin/systemctl", f"#!/bin/sh\ncd {vm.root}\n{script}\n", 0o755)


def environment(vm: VM) -> dict[str, str]:
    return {"PATH": f"{vm.root}/bin:{os.environ['PATH']}"}


def call(vm: VM) -> Reply:
    return vm.call(SERVICE, b"", **environment(vm))


def test_a_system_that_runs_is_answered_in_silence(vm: VM) -> None:
    systemctl(vm, '[ "$*" = "is-system-running --wait" ] && echo running')
    reply = call(vm)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")


def test_one_without_systemd_has_nothing_to_wait_for(vm: VM) -> None:
    systemctl(vm, "echo maintenance; exit 1")
    (vm.root / "run/systemd/system").rmdir()
    assert call(vm).status == 0


def test_a_manager_that_cannot_be_asked_yet_is_asked_again(vm: VM) -> None:
    systemctl(vm, "echo >>asked; case $(wc -l <asked) in 1) exit 1;; 2) echo unknown; exit 1;; *) echo running;; esac")
    assert call(vm).status == 0
    assert len(vm.read("asked").splitlines()) == 3


def test_units_that_failed_are_named(vm: VM) -> None:
    failed = "printf 'one.service loaded failed failed A thing\\ntwo.mount loaded failed failed B\\n'"
    systemctl(vm, f'case "$1" in is-system-running) echo degraded; exit 1;; list-units) {failed};; esac')
    reply = call(vm)
    assert reply.status == 1
    assert reply.refused(SERVICE) == "the system is up, but these units failed: one.service, two.mount"


@pytest.mark.parametrize("state", ["maintenance", "stopping", "offline", "a\033[2J"])
def test_any_other_state_is_told(vm: VM, state: str) -> None:
    systemctl(vm, f"printf '{state}\\n'; exit 1")
    assert "the system is not starting: its state is '" in call(vm).refused(SERVICE)


def test_a_system_that_never_comes_up_is_given_up(vm: VM) -> None:
    systemctl(vm, "exec sleep 60")
    began = time.monotonic()
    assert call(vm).refused(SERVICE) == "the system was not up within 2 s"
    assert time.monotonic() - began < 10


def test_one_that_says_without_end_is_ended(vm: VM) -> None:
    systemctl(vm, "exec cat /dev/zero")
    assert "wrote more than" in call(vm).refused(SERVICE)


def test_the_wait_ends_when_the_caller_goes(vm: VM) -> None:
    vm.write("etc/vminterface/handlers.conf", "system-timeout = 300\n")
    systemctl(vm, "echo >started; exec sleep 60")
    with Running(vm, SERVICE, **environment(vm)) as running:
        limit = time.monotonic() + 20
        while not (vm.root / "started").exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        running.hang_up()
        assert running.ended().status == 1


@pytest.mark.parametrize("text", ["0", "soon", "86401"])
def test_a_time_that_is_none_is_refused(vm: VM, text: str) -> None:
    vm.write("etc/vminterface/handlers.conf", f"system-timeout = {text}\n")
    assert f"'{text}' is not a valid system-timeout" in call(vm).refused(SERVICE)
