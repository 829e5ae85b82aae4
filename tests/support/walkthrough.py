"""The steps of a page of docs/ that says what to type: each fenced block in order, read out of the page itself.

A fence names its language and, after a blank, what it is for:

=================  ====================================================================================
``sh dom0``        commands, each as typed, in the machine of that name
``yaml /a/file``   the file's new content, as an editor leaves it; in the machine of the last commands
``text``           lines that the last commands print, in this order, others between them; ``*`` is any text
=================  ====================================================================================

All other blocks are for reading alone.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Runs commands in a machine and returns what they print, on both outputs; raises AssertionError where they fail.
Shell = Callable[[str], str]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the word after that (empty: none), and its lines."""

    language: str
    word: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of *page* in order."""
    return [Block(language, word or "", text) for language, word, text in _FENCE.findall(page.read_text())]


def walk(page: Path, machines: dict[str, Shell], replaced: dict[str, str] | None = None) -> int:
    """Do what *page* says in *machines*; return how many blocks of commands were run.

    *replaced* maps what only the reader knows (an address, a host's name) to what it is here.
    """
    run = 0
    machine, printed = next(iter(machines)), ""

    def here(text: str) -> str:
        for name, ours in (replaced or {}).items():
            text = text.replace(name, ours)
        return text

    for block in blocks(page):
        text, word = here(block.text), here(block.word)
        if block.language == "sh" and word:
            machine = word
            printed = machines[machine](text)
            assert "Traceback" not in printed, f"{page.name}: {text}\n{printed}"
            run += 1
        elif block.language == "yaml" and word.startswith("/"):
            folder = Path(word).parent
            machines[machine](f"mkdir -p {folder}\ncat >{word} <<'END OF FILE'\n{text}END OF FILE\n")
        elif block.language == "text":
            follows(printed, text, page.name)
    return run


def follows(printed: str, expected: str, where: str) -> None:
    """Assert that each line of *expected* is one of *printed*, in this order; blanks at both ends do not count."""
    left = iter(printed.splitlines())
    for line in expected.splitlines():
        pattern = line.strip().replace("[", "[[]")
        assert any(fnmatch.fnmatchcase(one.strip(), pattern) for one in left), (
            f"{where}: no line '{line}' in\n{printed}"
        )
