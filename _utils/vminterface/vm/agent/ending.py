"""Ends the agent within seconds of its stop event, whatever it is in the middle of: a program, or a file that hangs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from vminterface.stop import Stop, wait_for

#: Seconds that work has to end by itself; then, that it has without the programs that it waits for, to put things back.
GRACE, CUT = 2.5, 1.0


def until_stopped(work: Callable[[], None], stop: Stop) -> bool:
    """Do *work*, which ends when *stop* is set, and return whether it has ended; if not, its thread is left behind.

    It is done in a thread: the main one has to be free to take signals, and a thread that the kernel holds takes none.
    Programs that this process has started are ended when the work takes longer than GRACE. Raises what *work* raises.
    """
    raised: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=do, name="agent", daemon=True)
    thread.start()
    wait_for(stop)
    thread.join(GRACE)
    if thread.is_alive():
        _signal_children(signal.SIGTERM)
        thread.join(CUT)
        _signal_children(signal.SIGKILL)
    if raised:
        raise raised[0]
    return not thread.is_alive()


def _signal_children(number: signal.Signals) -> None:
    """Send a signal to the sessions of the programs that this process has started: each has one of its own."""
    own = os.getpid()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as file:
                # proc(5): behind the program's name, which may have anything in it, state and parent.
                parent = int(file.read().rpartition(b")")[2].split()[1])
            if parent == own and os.getpgid(int(name)) == int(name):
                os.killpg(int(name), number)
