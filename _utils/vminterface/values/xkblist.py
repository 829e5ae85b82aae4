"""The keyboard layouts and variants that this system's X knows, by the list of xkeyboard-config.

A layout that is well-formed and not in the list may be one of the VM's own, so this gives warnings and no errors. Form:
``evdev.lst``, sections ``! layout`` and ``! variant``, in which a variant's line has its layout before the colon.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable
from pathlib import Path

from vminterface.errors import printable
from vminterface.values.keyboard import KeyboardLayout

FILES = ("/usr/share/X11/xkb/rules/evdev.lst", "/usr/share/X11/xkb/rules/base.lst")


def warnings(layout: KeyboardLayout, files: Iterable[str] = FILES) -> list[str]:
    """Return a sentence for each layout and variant that the first of *files* that is there does not have."""
    known = next(filter(None, map(_read, files)), None)
    found = []
    for name, variant in layout.groups if known is not None else ():
        assert known is not None
        if name not in known:
            found.append(f"this system does not have the keyboard layout '{name}'{_hint(name, known)}")
        elif variant and variant not in known[name]:
            found.append(f"this system does not have the variant '{variant}' of the keyboard layout '{name}'"
                         f"{_hint(variant, known[name])}")  # fmt: skip
    return found


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean '{printable(near[0], 40)}'?)" if near else ""


@functools.lru_cache(maxsize=4)
def _read(path: str) -> dict[str, set[str]] | None:
    """Return the variants of each layout; None where there is no such file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("!"):
            section = words[1] if len(words) > 1 else ""
        elif section == "layout" and words:
            found.setdefault(words[0], set())
        elif section == "variant" and len(words) > 1:
            found.setdefault(words[1].rstrip(":"), set()).add(words[0])
    return found
