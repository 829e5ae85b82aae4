"""ShowInTerminal with a terminal that is a pseudo-terminal and a note of all that it shows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.agentcall import Running, call, ends, is_there
from tests.support.handlers import VM
from tests.support.terminals import Terminal
from vminterface.vm.handlers import showinterminal

SERVICE = "qubes.ShowInTerminal"


@pytest.fixture(autouse=True)
def terminal(vm: VM) -> Terminal:
    return Terminal(vm.root)


def until(condition: Any) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def left_behind() -> list[Path]:
    return list(Path("/tmp").glob("vminterface-terminal-*"))


def test_bytes_are_shown_as_they_are_and_what_is_typed_comes_back(vm: VM, terminal: Terminal) -> None:
    before = left_behind()
    with Running(vm, SERVICE) as running:
        running.send(b"\x1b[1mlogin\xff\n [yes]?")
        assert running.read(4) == b"yes\r"
        until(lambda: terminal.shown() == b"\x1b[1mlogin\xff\n [yes]?")
        running.send(b" bye")
        running.end_input()
        reply = running.ended()
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    # Neither the terminal's echo nor its line's ends are in it: it is raw.
    assert terminal.shown() == b"\x1b[1mlogin\xff\n [yes]? bye"
    assert all(ends(one) for one in terminal.processes())
    assert left_behind() == before


def test_megabytes_come_through_whole(vm: VM, terminal: Terminal) -> None:
    data = os.urandom(3 << 20)
    assert call(vm, SERVICE, data).status == 0
    assert terminal.shown() == data


def test_the_call_ends_when_the_user_closes_the_terminal(vm: VM, terminal: Terminal) -> None:
    with Running(vm, SERVICE) as running:
        running.send(b"$ ")
        until(lambda: terminal.shown() == b"$ ")
        os.kill(terminal.processes()[0], 1)
        reply = running.ended()
    assert (reply.status, reply.stderr) == (0, "")


def test_the_terminal_closes_when_the_caller_goes(vm: VM, terminal: Terminal) -> None:
    with Running(vm, SERVICE) as running:
        running.send(b"$ ")
        until(lambda: terminal.shown() == b"$ ")
        running.hang_up()
        running.ended()
    until(lambda: not any(is_there(one) for one in terminal.processes()))


def test_a_terminal_that_is_stopped_closes_too_when_the_caller_goes(vm: VM, terminal: Terminal) -> None:
    with Running(vm, SERVICE) as running:
        running.send(b"$ ")
        until(lambda: terminal.shown() == b"$ ")
        os.kill(terminal.processes()[1], 19)
        running.hang_up()
        running.ended()
    assert ends(terminal.processes()[0])
    os.kill(terminal.processes()[1], 9)


def test_a_terminal_that_shows_nothing_is_told(vm: VM) -> None:
    vm.write("etc/vminterface/terminal-command", "sh -c 'exit 3'\n")
    reason = call(vm, SERVICE, b"x").refused(SERVICE)
    assert reason == "the terminal sh ended with status 3 before it opened a window"
    vm.write("etc/vminterface/terminal-command", "no-such-terminal\n")
    assert "no-such-terminal cannot be started" in call(vm, SERVICE, b"x").refused(SERVICE)


def test_one_that_never_appears_is_waited_for_a_while(vm: VM, terminal: Terminal) -> None:
    """A terminal that hands over to one that runs already ends at once, and well."""
    vm.write("etc/vminterface/terminal-command", "true\n")
    with Running(vm, SERVICE) as running:
        time.sleep(0.3)
        assert running.process.poll() is None
        running.hang_up()
        running.ended()
    assert 5 < showinterminal.TIMEOUT <= 60
