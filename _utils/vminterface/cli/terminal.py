"""Output for terminals only: colours, and a line that shows that a command is still running."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO

#: Seconds before the line appears, and between two changes of it.
AFTER, EVERY = 2.0, 0.5
_RED, _GREEN, _BOLD = "31", "32", "1"


class Style:
    """Colours for one stream; off where they would be in the way of the text."""

    def __init__(self, stream: TextIO) -> None:
        self.on = _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def red(self, text: str) -> str:
        """Return *text* as what failed, or what was before."""
        return self._with(_RED, text)

    def green(self, text: str) -> str:
        """Return *text* as what is good, or what is now."""
        return self._with(_GREEN, text)

    def bold(self, text: str) -> str:
        """Return *text* as a title."""
        return self._with(_BOLD, text)

    def _with(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False  # it is closed


class Progress:
    """One line on standard error, if that is a terminal, while a command takes longer than AFTER. Use it in ``with``.

    The line goes for good when the command prints anything, so that it never stands in the way of a result.
    """

    def __init__(self, what: str, *, desired: bool = True) -> None:
        self._what, self._note = what, ""
        self._stream = sys.stderr
        self._wanted = desired and _is_terminal(self._stream)
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._width = 0
        self._former: tuple[TextIO, TextIO] | None = None
        self._start = time.monotonic()

    def note(self, text: str) -> None:
        """Set the text of the line."""
        self._note = text

    def end(self) -> None:
        """Take the line away; may be called twice."""
        self._ended.set()
        with self._writing:
            self._put("")

    def __enter__(self) -> Self:
        if self._wanted:
            self._former = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = (_Noticed(stream, self) for stream in self._former)
            threading.Thread(target=self._run, name="progress", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._former is not None:
            sys.stdout, sys.stderr = self._former
            self.end()

    def _run(self) -> None:
        pause = AFTER
        while not self._ended.wait(pause):
            pause = EVERY
            with self._writing:
                if not self._ended.is_set():
                    self._put(self._text())

    def _text(self) -> str:
        import shutil

        note = self._note and f": {self._note}"
        text = f"vminterface {self._what}{note}: running for {time.monotonic() - self._start:.0f} s"
        return text[: shutil.get_terminal_size().columns - 1]

    def _put(self, text: str) -> None:
        """Write *text* over the line; an empty one leaves nothing of it. Whoever calls holds the lock."""
        if not text and not self._width:
            return
        blanks = " " * max(0, self._width - len(text))
        self._width = len(text)
        try:
            self._stream.write(f"\r{text}{blanks}" + ("" if text else "\r"))
            self._stream.flush()
        except (OSError, ValueError):
            self._ended.set()  # the terminal is gone


class _Noticed:
    """A stream before whose first words the progress line ends."""

    def __init__(self, stream: TextIO, progress: Progress) -> None:
        self._stream, self._progress = stream, progress

    def write(self, text: str) -> int:
        self._progress.end()
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
