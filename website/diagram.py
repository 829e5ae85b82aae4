"""A diagram of messages between parties: read from lines that are readable as they are, and drawn as SVG.

Lines: ``left -> right: text`` is a message, ``party: text`` a note about what that party does by itself.
Parties stand in the order in which they first appear.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

LINE = re.compile(
    r"(?P<left>[^:\s][^:]*?)\s*->\s*(?P<right>[^:\s][^:]*?)\s*:\s*(?P<message>.+)"
    r"|(?P<party>[^:>\s][^:>]*?)\s*:\s*(?P<note>.+)"
)
#: Pixels between two parties, at least; between two lines; of the margins, at least; of the parties' names.
APART, STEP, MARGIN, HEAD = 270, 44, 110, 40


class WrongLine(ValueError):
    """A line has neither form."""


@dataclass(frozen=True)
class Step:
    """A message from *left* to *right*, or a note where they are one."""

    left: str
    right: str
    text: str


def parse(text: str) -> list[Step]:
    """Return the steps of *text*. Raises WrongLine."""
    steps = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = LINE.fullmatch(line)
        if found is None:
            raise WrongLine(f"'{line}' is not a step of a sequence (expected 'LEFT -> RIGHT: TEXT' or 'PARTY: TEXT')")
        if found["message"]:
            steps.append(Step(found["left"], found["right"], found["message"]))
        else:
            steps.append(Step(found["party"], found["party"], found["note"]))
    return steps


def svg(steps: list[Step]) -> str:
    """Return the diagram of *steps*; its colours are those of the page."""
    parties = list(dict.fromkeys(name for step in steps for name in (step.left, step.right)))
    apart = max(APART, *(width_of(step.text) for step in steps if step.left != step.right), 0)
    margin = max(MARGIN, *(width_of(step.text) // 2 for step in steps if step.left == step.right), 0)
    at = {name: margin + number * apart for number, name in enumerate(parties)}
    width, height = 2 * margin + (len(parties) - 1) * apart, HEAD + 30 + STEP * len(steps)
    title = html.escape(f"sequence of messages between {', '.join(parties)}")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
        ' font-family="sans-serif" font-size="13" fill="currentColor" stroke="none" style="max-width:100%">',
        '<defs><marker id="head" markerWidth="9" markerHeight="8" refX="9" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z" fill="currentColor"/></marker></defs>',
    ]
    for name, x in at.items():
        lines.append(
            f'<rect x="{x - 95}" y="4" width="190" height="28" rx="5" fill="none" stroke="currentColor"/>'
            f'<text x="{x}" y="23" text-anchor="middle" font-weight="bold">{html.escape(name)}</text>'
            f'<line x1="{x}" y1="32" x2="{x}" y2="{height}" stroke="currentColor" stroke-opacity=".35"'
            ' stroke-dasharray="4 4"/>'
        )
    for number, step in enumerate(steps):
        lines += drawn(step, at, HEAD + 34 + STEP * number)
    return "\n".join([*lines, "</svg>"])


def width_of(text: str) -> int:
    """Return about how many pixels *text* takes, with some room at both ends."""
    return 7 * len(text) + 18


def drawn(step: Step, at: dict[str, int], y: int) -> Iterator[str]:
    """Yield the lines of SVG of one *step* at height *y*."""
    left, right = at[step.left], at[step.right]
    text = html.escape(step.text)
    if left == right:
        size = width_of(step.text)
        yield f'<rect x="{left - size // 2}" y="{y - 20}" width="{size}" height="26" rx="4"'
        yield 'stroke="currentColor" stroke-opacity=".6" fill="var(--color-background-secondary, #f8f9fb)"/>'
        yield f'<text x="{left}" y="{y - 3}" text-anchor="middle" font-style="italic">{text}</text>'
        return
    yield f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="currentColor" marker-end="url(#head)"/>'
    yield f'<text x="{(left + right) // 2}" y="{y - 6}" text-anchor="middle">{text}</text>'
