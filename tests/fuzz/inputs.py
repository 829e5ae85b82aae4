"""The inputs that are kept of each target: its seeds, and the files of its folder in the corpus.

A file is an input as it is, byte for byte. It is called after its content: ``found-`` before that is what once found a
fault, and stays; the others stay as long as they reach something that no smaller one does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.target import Target

CORPUS = Path(__file__).resolve().parent / "corpus"
FOUND = "found-"


def name_of(data: bytes, *, found: bool = False) -> str:
    """Return what the file with *data* is called."""
    return f"{FOUND if found else ''}{hashlib.sha256(data).hexdigest()[:16]}"


def files_of(target: Target, corpus: Path = CORPUS) -> list[Path]:
    """Return the files of *target*, sorted by their names."""
    folder = corpus / target.name
    return sorted(folder.iterdir()) if folder.is_dir() else []


def of(target: Target, corpus: Path = CORPUS) -> Iterator[tuple[str, bytes]]:
    """Yield every kept input of *target*, with a name for people."""
    for number, seed in enumerate(target.seeds):
        yield f"{target.name}: seed {number}", seed
    for file in files_of(target, corpus):
        yield f"{target.name}: {file.name}", file.read_bytes()


def keep(target: Target, data: bytes, *, found: bool = False, corpus: Path = CORPUS) -> Path:
    """Put *data* into the corpus and return its file."""
    file = corpus / target.name / name_of(data, found=found)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file
