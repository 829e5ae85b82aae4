"""Work that threads have done by the one that owns the VMs."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab.dom0.loop import Loop
from vminterface.errors import ConnectionLost, InvalidValue


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def turn(loop: Loop) -> None:
    """Wait until there is work, and do it."""
    assert select.select([loop], [], [], 10)[0]
    loop.run()


def refuse() -> None:
    raise InvalidValue("it is not")


def test_the_owner_does_its_own_work_at_once(loop: Any) -> None:
    assert loop.do(threading.get_ident) == threading.get_ident()
    assert not select.select([loop], [], [], 0)[0]


def test_others_have_it_done_by_the_owner_and_get_what_comes_of_it(loop: Any) -> None:
    with ThreadPoolExecutor(1) as others:
        done = others.submit(loop.do, threading.get_ident)
        turn(loop)
        assert done.result(10) == threading.get_ident()
        failed = others.submit(loop.do, refuse)
        turn(loop)
        with pytest.raises(InvalidValue, match="it is not"):
            failed.result(10)


def test_who_waits_when_the_lab_ends_learns_of_it_and_so_does_who_comes_later(loop: Any) -> None:
    with ThreadPoolExecutor(1) as others:
        waiting = others.submit(loop.do, threading.get_ident)
        assert select.select([loop], [], [], 10)[0]
        loop.close()
        for call in (waiting, others.submit(loop.do, threading.get_ident)):
            with pytest.raises(ConnectionLost, match="the lab ends"):
                call.result(10)
