"""A recording of commands in a terminal, drawn as one SVG file in which the lines appear as they did.

Programs run in a pseudo-terminal of :data:`COLUMNS` columns, so that they show what they show an admin, colours too. Of
a terminal's controls only colours (SGR 0, 1, 31, 32) are drawn; all others must have gone before the program's end.
"""

from __future__ import annotations

import fcntl
import html
import os
import re
import select
import struct
import subprocess
import termios
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded

COLUMNS = 110
#: Seconds that a command stands there before its output comes, and that a reader has for a line of it.
READING, A_LINE = 1.0, 0.5
_COMMAND_SECONDS = 60.0
_MOST_BYTES = 1 << 16
_SGR = re.compile(r"\x1b\[([0-9;]*)m")
_COLOURS = {"31": "#ff7b72", "32": "#7ee787", "1": "#ffffff"}
_TEXT, _GROUND, _PROMPT = "#c9d1d9", "#0d1117", "#79c0ff"
_WIDTH, _HEIGHT, _MARGIN = 8, 19, 14


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the terminal, and the second at which it appears."""

    at: float
    text: str
    prompt: bool = False


def record(commands: Sequence[str], environment: Mapping[str, str], folder: Path) -> list[Line]:
    """Run *commands* of the shell one after the other in *folder* and return the lines of the terminal.

    Raises DeadlineExceeded for one that takes longer than a minute, and OSError.
    """
    lines: list[Line] = []
    now = 0.0
    for command in commands:
        lines.append(Line(now, command, prompt=True))
        now += READING
        for text in wrapped(output_of(command, environment, folder)):
            lines.append(Line(now, text))
            now += A_LINE
        now += READING
    return lines


def output_of(command: str, environment: Mapping[str, str], folder: Path) -> str:
    """Return what *command* shows in a terminal. Raises DeadlineExceeded, OSError."""
    leader, follower = os.openpty()
    try:
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        with subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env={**environment, "TERM": "xterm", "COLUMNS": str(COLUMNS)},
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
        ) as process:
            os.close(follower)
            follower = -1
            try:
                data = b"".join(_read(leader, command))
            except DeadlineExceeded:
                process.kill()
                raise
        return data[:_MOST_BYTES].decode("utf-8", "replace")
    finally:
        os.close(leader)
        if follower >= 0:
            os.close(follower)


def _read(leader: int, command: str) -> Iterator[bytes]:
    deadline = Deadline.after(_COMMAND_SECONDS)
    while True:
        ready, _, _ = select.select([leader], [], [], deadline.remaining)
        if not ready:
            raise DeadlineExceeded(f"'{command}' did not end within {_COMMAND_SECONDS:.0f} s")
        try:
            data = os.read(leader, 4096)
        except OSError:  # all who had the other end have closed it
            return
        if not data:
            return
        yield data


def wrapped(output: str) -> Iterator[str]:
    """Yield the lines of *output*, none longer than the terminal; what a carriage return has overwritten is gone."""
    for line in output.replace("\r\n", "\n").rstrip("\n").split("\n"):
        line = line.rpartition("\r")[2].replace("\x1b[K", "")
        shown, width, code = "", 0, ""
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if _SGR.fullmatch(part):
                shown, code = shown + part, part
                continue
            while width + len(part) > COLUMNS:
                yield shown + part[: COLUMNS - width]
                part, shown, width = part[COLUMNS - width :], code, 0
            shown, width = shown + part, width + len(part)
        yield shown


def spans(text: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a line's *text*, each with its colour."""
    colour, at = _TEXT, 0
    for code in _SGR.finditer(text):
        if code.start() > at:
            yield text[at : code.start()], colour
        colour, at = _COLOURS.get(code[1], _TEXT), code.end()
    if at < len(text):
        yield text[at:], colour


def svg(lines: Iterable[Line], title: str) -> str:
    """Return the recording as SVG. Where nothing moves, as on paper, all lines are there."""
    lines = list(lines)
    width, height = COLUMNS * _WIDTH + 2 * _MARGIN, len(lines) * _HEIGHT + 2 * _MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        f' role="img" xml:space="preserve" font-size="13"'
        ' font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace">',
        f"<title>{html.escape(title)}</title>",
        "<style>@keyframes wait{from,to{opacity:0}}text{white-space:pre;animation:wait linear}</style>",
        f'<rect width="{width}" height="{height}" rx="8" fill="{_GROUND}"/>',
    ]
    for number, line in enumerate(lines):
        parts = [("# ", _PROMPT), (line.text, _COLOURS["1"])] if line.prompt else list(spans(line.text))
        text = "".join(f'<tspan fill="{colour}">{html.escape(part)}</tspan>' for part, colour in parts)
        y = _MARGIN + 14 + number * _HEIGHT
        drawn.append(f'<text x="{_MARGIN}" y="{y}" style="animation-duration:{line.at:.1f}s">{text}</text>')
    return "\n".join([*drawn, "</svg>\n"])
