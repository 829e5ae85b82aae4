"""SetGuiMode: the hooks hear of the mode, and then it is remembered."""

from __future__ import annotations

import io
import os
import select

import pytest

from tests.support.handlers import VM
from tests.support.stopwatch import Stopwatch
from vminterface.errors import DeadlineExceeded, VMInterfaceError
from vminterface.vm.handlers import setguimode
from vminterface.vm.handlers.runtime.call import Call
from vminterface.vm.machine.machine import Machine
from vminterface.vm.machine.remember import remember

SERVICE = "qubes.SetGuiMode"
STATE = "run/vminterface/gui-mode"


def hook(vm: VM, name: str, script: str, mode: int = 0o755) -> None:
    vm.write(f"etc/qubes/gui-mode.d/{name}", f"#!/bin/sh\ncd {vm.root}\n{script}\n", mode)


@pytest.mark.parametrize("word", [b"FULLSCREEN", b"SEAMLESS", b"SEAMLESS\n"])
def test_both_words_are_taken_with_or_without_a_lines_end(vm: VM, word: bytes) -> None:
    reply = vm.call(SERVICE, word)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert vm.read(STATE).strip().encode() == word.strip()


def test_each_hook_gets_the_mode_in_the_order_of_their_names(vm: VM) -> None:
    hook(vm, "20-b", 'echo "b $*" >> heard')
    hook(vm, "10-a", 'echo "a $*" >> heard; echo noise; echo noise >&2')
    hook(vm, "30-not-executable", "echo c >> heard", 0o644)
    hook(vm, "40-old~", "echo d >> heard")
    hook(vm, ".hidden", "echo e >> heard")
    reply = vm.call(SERVICE, b"SEAMLESS")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert vm.read("heard") == "a SEAMLESS\nb SEAMLESS\n"


def test_a_hook_that_fails_is_named_and_the_mode_is_as_before(vm: VM) -> None:
    vm.write(STATE, "FULLSCREEN\n")
    hook(vm, "10-a", "echo 'no desktop' >&2; exit 3")
    reason = vm.call(SERVICE, b"SEAMLESS").refused(SERVICE)
    assert reason.endswith("10-a ended with status 3: no desktop")
    assert vm.read(STATE) == "FULLSCREEN\n"


def test_a_hook_that_hangs_is_ended(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setguimode, "TIMEOUT", 0.3)
    hook(vm, "10-a", "echo $$ > pid; exec sleep 100")
    call = Call(SERVICE, "dom0", "", io.BytesIO(b"SEAMLESS"), io.BytesIO(), Machine(str(vm.root)))
    began = Stopwatch()
    with pytest.raises(DeadlineExceeded, match="10-a"):
        setguimode.handle(call)
    began.check(5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(vm.read("pid")), 0)
    assert not (vm.root / STATE).exists()


@pytest.mark.parametrize("status", [0, 3])
def test_what_a_hook_leaves_behind_neither_delays_the_call_nor_ends_with_it(vm: VM, status: int) -> None:
    ways = []
    for name in ("more", "done"):
        os.mkfifo(vm.root / name)
        ways.append(os.open(vm.root / name, os.O_RDWR))
    more, done = ways
    # It says something once the call is over, and more than is kept.
    behind = "read word < more; echo out; echo err >&2; head -c 3000000 /dev/zero >&2; echo still there > done"
    hook(vm, "10-a", f"({behind}) &\necho said >&2\nexit {status}")
    began = Stopwatch()
    reply = vm.call(SERVICE, b"SEAMLESS")
    began.check(setguimode.TIMEOUT - 2)
    assert reply.status == (1 if status else 0)
    assert reply.stderr.endswith("10-a ended with status 3: said\n" if status else "")
    os.write(more, b"word\n")
    assert select.select([done], [], [], 20)[0]
    assert os.read(done, 100) == b"still there\n"
    for way in ways:
        os.close(way)


def test_hooks_have_their_time_together(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setguimode, "TIMEOUT", 0.6)
    for name in ("10-a", "20-b"):
        hook(vm, name, "sleep 0.4")
    call = Call(SERVICE, "dom0", "", io.BytesIO(b"SEAMLESS"), io.BytesIO(), Machine(str(vm.root)))
    with pytest.raises(DeadlineExceeded, match="20-b"):
        setguimode.handle(call)
    assert not (vm.root / STATE).exists()


def test_who_may_not_write_there_keeps_it_in_the_sessions_folder(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    vm.write("run/vminterface", "a file where the folder should be")
    machine = Machine(str(vm.root))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with pytest.raises(VMInterfaceError, match="/run/vminterface/gui-mode"):
        remember(machine, "gui-mode", "SEAMLESS\n")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    remember(machine, "gui-mode", "SEAMLESS\n")
    assert vm.read("run/user/1000/vminterface/gui-mode") == "SEAMLESS\n"
