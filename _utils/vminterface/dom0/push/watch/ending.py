"""Ends the watcher within two seconds of SIGTERM, SIGINT or SIGHUP, whatever its threads are in the middle of."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

#: Seconds that pushes under way have to take back what no VM has acknowledged; then, that the watcher has to end.
TAKE_BACK, END = 1.2, 1.6


def run(work: Callable[[threading.Event], bool]) -> bool:
    """Call *work* in a thread, with an event that is set by a signal; return what it returns, False if it hangs.

    False means that threads are left behind, for which Python would wait at its end. Raises what *work* raises.
    """
    stop, ended = threading.Event(), False
    raised: list[BaseException] = []
    reader, writer = os.pipe2(os.O_CLOEXEC)

    def do() -> None:
        nonlocal ended
        try:
            ended = work(stop)
        except BaseException as error:
            raised.append(error)
        finally:
            os.write(writer, b"x")

    # The main thread waits for a pipe: a handler that sets an event for which its own thread waits may wait for ever.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: os.write(writer, b"x"))
    thread = threading.Thread(target=do, name="watcher", daemon=True)
    thread.start()
    os.read(reader, 1)
    stop.set()
    thread.join(END)
    if raised:
        raise raised[0]
    return ended
