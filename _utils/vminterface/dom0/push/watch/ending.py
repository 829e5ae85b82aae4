"""Ends the watcher within two seconds of SIGTERM, SIGINT or SIGHUP, whatever its threads are in the middle of."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

from vminterface.stop import Stop, wait_for

#: Seconds that pushes under way have to take back what no VM has acknowledged; then, that the watcher has to end.
TAKE_BACK, END = 1.2, 1.6


def run(work: Callable[[threading.Event], bool]) -> bool:
    """Call *work* in a thread, with an event that is set by a signal; return what it returns, False if it hangs.

    False means that threads are left behind, for which Python would wait at its end. Raises what *work* raises.
    """
    stop, ended = Stop(), False
    raised: list[BaseException] = []

    def do() -> None:
        nonlocal ended
        try:
            ended = work(stop)
        except BaseException as error:
            raised.append(error)
        finally:
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: stop.set())
    thread = threading.Thread(target=do, name="watcher", daemon=True)
    thread.start()
    wait_for(stop)
    thread.join(END)
    if raised:
        raise raised[0]
    return ended
