"""Standard output: data for programs or lines; where it cannot be written, as on a full disk, that is one sentence."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO


def print_data(options: argparse.Namespace, data: Any, lines: Sequence[str]) -> None:
    """Print *data* as JSON where *options* ask for that, else *lines*."""
    if options.json:
        import json

        print(json.dumps(data, indent=2, sort_keys=True))
    else:
        print("\n".join(lines))


class NotWritten(Exception):
    """Standard output cannot be written; no OSError, as argparse keeps these to itself."""


class Watched:
    """A stream whose errors are NotWritten, but for that of a reader that went away: BrokenPipeError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write *text* as the stream does."""
        with _renamed():
            return self._stream.write(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with _renamed():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Have Watched for standard output, with all of it written in the end; raises NotWritten or BrokenPipeError."""
    former = sys.stdout
    if former is None or former.closed:
        yield
        return
    stream = Watched(former)
    sys.stdout = stream
    try:
        try:
            yield
        finally:
            stream.flush()
    except (NotWritten, BrokenPipeError):
        _forget(former)
        raise
    finally:
        sys.stdout = former


def _forget(stream: TextIO) -> None:
    """Let what *stream* still holds go nowhere, or Python would try once more at its end, and say so."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _renamed() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotWritten(f"standard output cannot be written: {error.strerror or error}") from None
