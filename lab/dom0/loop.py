"""Lets threads have work done by the one that owns the lab's VMs, which waits for readable files and never for them."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from vminterface.errors import ConnectionLost

T = TypeVar("T")


class Loop:
    """Made by the thread that owns the VMs, which calls :meth:`run` when this is readable."""

    def __init__(self) -> None:
        self._owner = threading.get_ident()
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._ended = False

    def fileno(self) -> int:
        """Where it is readable, for a selector."""
        return self._woken.fileno()

    def do(self, work: Callable[[], T]) -> T:
        """Return what *work* returns, which the owner does. Raises what it raises; ConnectionLost, if the lab ends."""
        if threading.get_ident() == self._owner:
            return work()
        done: Future[T] = Future()
        with self._lock:
            if self._ended:
                raise ConnectionLost("the lab ends")
            self._jobs.put((work, done))
            self._waker.send(b"!")
        return done.result()

    def run(self) -> None:
        """Do what is waiting."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while not self._jobs.empty():
            work, done = self._jobs.get()
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

    def close(self) -> None:
        """Do nothing more; who waits learns that the lab ends."""
        with self._lock:
            self._ended = True
        while not self._jobs.empty():
            self._jobs.get()[1].set_exception(ConnectionLost("the lab ends"))
