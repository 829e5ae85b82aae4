"""Lay out the sources of the site: docs/ as it is, and beside it what is made of the library's own tables."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from website import commandline, fields, functions, keytable

ROOT = Path(__file__).resolve().parents[1]
#: Pages at the top of the tree that are pages of the site too, by their names there.
TOP = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "CODE_OF_CONDUCT.md": "conduct.md"}
#: Pages at the top of the tree whose content a page of docs/ has.
SAME = {"SECURITY.md": "security.md", "README.md": "index.md"}
FRAGMENTS = "changelog.d"
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")


def stage(folder: Path) -> None:
    """Write all sources below *folder*, which does not exist. Raises OSError."""
    shutil.copytree(ROOT / "docs", folder)
    for page, name in TOP.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        (folder / name).write_text(moved(text), encoding="utf-8")
    generated = {
        "reference/fields.md": fields.page(),
        "reference/keys.md": keytable.page(),
        "reference/command-line.md": commandline.page(),
        **functions.pages(),
    }
    for name, text in generated.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with (folder / TOP["CHANGELOG.md"]).open("a", encoding="utf-8") as changelog:
        changelog.write(moved(unreleased()))


def moved(text: str) -> str:
    """Return the Markdown *text* of a page at the top of the tree with links as they are from within docs/."""

    def target(match: re.Match[str]) -> str:
        name = match[1]
        if name in TOP or name in SAME:
            return {**TOP, **SAME}[name]
        return name.removeprefix("docs/") if name.startswith("docs/") else name

    return LINK.sub(target, text)


def unreleased() -> str:
    """Return the changelog's part about what no release has yet, empty where there are no fragments."""
    if not any((ROOT / FRAGMENTS).glob("[!R]*.md")):
        return ""
    done = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "unreleased"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return f"\n{done.stdout}"
