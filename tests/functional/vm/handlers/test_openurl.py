"""OpenURL: an address goes to the opener as one word, whatever is in it, and nothing else does."""

from __future__ import annotations

import os
import time

import pytest

from tests.support.agentcall import Running, call, is_there
from tests.support.handlers import VM

SERVICE = "qubes.OpenURL"
ADDRESS = "https://www.example.org/?a=$(id)&b='%20;`x`#--help"


@pytest.fixture
def vm(vm: VM) -> VM:
    opener(vm, 'printf "[%s]" "$@" "$DE"')
    return vm


def opener(vm: VM, script: str, name: str = "qubes-open") -> None:
    vm.write(f"bin/{name}", f"#!/bin/sh\n{{ {script}\n}} >>{vm.root}/notes\n", 0o755)


def opened(vm: VM, data: bytes) -> str:
    reply = call(vm, SERVICE, data, PATH=f"{vm.root}/bin:{os.environ['PATH']}")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    return vm.read("notes")


def test_an_address_is_opened_as_one_word(vm: VM) -> None:
    assert opened(vm, f"{ADDRESS}\n".encode()) == f"[{ADDRESS}][generic]"


def test_a_line_without_end_and_more_behind_it_are_as_good(vm: VM) -> None:
    """As of the stock handler, which reads one line."""
    assert opened(vm, b"ftp://ftp.example.org/\nhttp://other.example.org\n") == "[ftp://ftp.example.org/][generic]"


def test_the_admins_opener_goes_first(vm: VM) -> None:
    opener(vm, 'printf "[%s]" browser "$@"', "browser")
    vm.write("etc/vminterface/open-command", "browser --new-window\n")
    assert opened(vm, b"http://www.example.org\n") == "[browser][--new-window][http://www.example.org]"


def test_without_an_opener_that_is_said(vm: VM) -> None:
    reply = call(vm, SERVICE, b"http://www.example.org\n", PATH="/nowhere")
    assert "expected one of qubes-open, xdg-open" in reply.refused(SERVICE)


def test_an_opener_that_fails_is_told(vm: VM) -> None:
    opener(vm, "exit 4")
    reply = call(vm, SERVICE, b"http://www.example.org\n", PATH=f"{vm.root}/bin:{os.environ['PATH']}")
    assert "qubes-open ended with status 4 at once" in reply.refused(SERVICE)


def test_the_browser_lives_on_when_the_caller_goes(vm: VM) -> None:
    opener(vm, "echo $$; exec sleep 60")
    with Running(vm, SERVICE, PATH=f"{vm.root}/bin:{os.environ['PATH']}") as running:
        running.send(b"http://www.example.org\n")
        limit = time.monotonic() + 20
        while not ((vm.root / "notes").exists() and vm.read("notes").endswith("\n")):
            assert time.monotonic() < limit
            time.sleep(0.02)
        browser = int(vm.read("notes"))
        running.hang_up()
    try:
        assert is_there(browser)
    finally:
        os.kill(browser, 9)
