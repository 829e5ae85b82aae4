"""The worked examples of a page: files, and changes of files, in fences that name them; made in a copy of the tree."""

from __future__ import annotations

import re
from pathlib import Path

FENCE = re.compile(r"^```(?P<kind>python|diff) (?P<path>[\w./-]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class DoesNotFit(Exception):
    """A change is of lines that the file does not have, or has more than once."""


def examples(page: str) -> dict[str, list[tuple[str, str, str]]]:
    """Return by heading the blocks of each section of *page* that has some: kind, path of the file, text."""
    found = {}
    for section in re.split(r"^#{2,3} ", page, flags=re.MULTILINE)[1:]:
        heading, _, rest = section.partition("\n")
        if blocks := [(block["kind"], block["path"], block["text"]) for block in FENCE.finditer(rest)]:
            found[heading] = blocks
    return found


def make(tree: Path, kind: str, path: str, text: str) -> None:
    """Write the file *path* of *tree*, or change it. Raises DoesNotFit."""
    file = tree / path
    if kind == "python":
        if file.exists():
            raise DoesNotFit(f"{path} is there already")
        file.write_text(text, encoding="utf-8")
        return
    content = file.read_text(encoding="utf-8")
    for hunk in text.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        if (times := f"\n{content}".count(f"\n{old}")) != 1:
            raise DoesNotFit(f"{path} has these lines {times} times (expected once):\n{old}")
        at = f"\n{content}".index(f"\n{old}")
        content = content[:at] + "".join(line[1:] for line in lines if line[0] in " +") + content[at + len(old) :]
    file.write_text(content, encoding="utf-8")
