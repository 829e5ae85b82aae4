"""Signals that end this program wait while it starts another one, until somebody is there who will end that.

A handler that raises, as Python's own for Ctrl-C does, would else come between a program's start and the ``try`` or
``with`` that ends it, or even into the start itself, and leave the program running. It is the handlers that are
replaced and not the signals that are blocked: a started program would inherit that, and another thread would take the
signal.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # as the type checker takes it; importing typing would cost every short-lived program time
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from types import FrameType
    from typing import Any

#: Signals that ask a program to end.
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Held:
    """From its making to :meth:`release`, or for a ``with`` block, what handlers of ending signals do has to wait.

    Call :meth:`release` where an exception from it ends what was started meanwhile. Signals without a handler act as
    they do; in threads other than the main one, where no handler ever runs, there is nothing to hold.
    """

    def __init__(self) -> None:
        self._holding = True
        self._came: list[int] = []
        self._former: dict[int, Callable[[int, FrameType | None], Any]] = {}
        try:
            for number in _ENDING:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._former[number] = handler
                    signal.signal(number, self._note)
        except ValueError:
            self._former.clear()  # not the main thread
        except BaseException:
            self._holding = False
            self._put_back()
            raise

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._holding:
            self._came.append(number)
        else:
            self._former[number](number, frame)

    def _put_back(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def release(self) -> None:
        """Let the handlers do what they have to do, at once for what has come. Raises what they raise."""
        self._holding = False
        self._put_back()
        came, self._came = self._came, []
        for number in came:
            signal.raise_signal(number)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def start(argv: Sequence[str], **options: Any) -> tuple[subprocess.Popen[Any], Held]:
    """Start a program (*options* as of Popen) whose caller releases the signals where it would end the program.

    Raises what Popen raises; nothing is held then.
    """
    import subprocess

    held = Held()
    try:
        return subprocess.Popen(argv, **options), held
    except BaseException:
        held.release()
        raise
