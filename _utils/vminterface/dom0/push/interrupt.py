"""Ctrl-C and SIGTERM in the middle of work that must not be left half done: it is notified, and ends by itself.

Python raises KeyboardInterrupt (and what Salt's and the command's handlers raise, SystemExit) in the main thread at any
line. So the work goes on in another thread, where no such exception cuts a write or a reading of the store's replies.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import TypeVar

from vminterface.channel.interruptions import Held
from vminterface.errors import VMInterfaceError

T = TypeVar("T")

#: Seconds within which a wait has to notice that it shall end.
NOTICED_WITHIN = 0.2


def run(
    work: Callable[[threading.Event], T], summary: Callable[[T], str], report: Callable[[T], None] = lambda result: None
) -> T:
    """Return what *work* returns, called with an event that is set when this program gets a signal to end.

    *work* then restores what it has to and returns soon; after that KeyboardInterrupt or SystemExit goes on, with the
    *summary* of the result as its text, or as a note where it has an exit status. A second signal meanwhile ends the
    program at once. *report* is called with the result where no signal came: one that comes from then on waits until
    it has ended, so that either has the result of the work. Outside the main thread, which alone gets signals, *work*
    is called as it is.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        value = work(stop)
        report(value)
        return value
    result: Future[T] = Future()

    def go() -> None:
        try:
            result.set_result(work(stop))
        except BaseException as error:
            result.set_exception(error)

    # A signal while the thread starts would leave it to run on alone, or wait for one that never ran.
    held = Held()
    try:
        threading.Thread(target=go, name="vminterface write", daemon=True).start()
    except BaseException:
        held.release()
        raise
    try:
        held.release()
        # A part at a time: Python runs handlers in this thread alone, and a lock does not wake it for a signal that the
        # kernel has given to another one.
        while not wait([result], NOTICED_WITHIN).done:
            pass
        value = result.result()
        held = Held()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_ended(result, stop, summary)) from None
    except SystemExit as interrupt:
        text = _ended(result, stop, summary)
        if isinstance(interrupt.code, int) and interrupt.code:
            interrupt.add_note(text)
            raise
        # Text is printed by Python, at status 1; Salt has a line of its own at Ctrl-C, and a status of 0 at SIGTERM.
        raise SystemExit("\n".join([*([interrupt.code] if interrupt.code else []), text])) from None
    with held:
        report(value)
    return value


def _ended(result: Future[T], stop: threading.Event, summary: Callable[[T], str]) -> str:
    """Let the work come to its end; return what there is to say of it."""
    stop.set()
    with _second_signal_ends():
        try:
            return summary(result.result())
        except VMInterfaceError as error:
            # A program that was asked to end must not go on as after a failure, as Salt does with its next state.
            return str(error)


@contextmanager
def _second_signal_ends() -> Iterator[None]:
    """Let SIGINT and SIGTERM do meanwhile what they do without a handler."""
    former = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
