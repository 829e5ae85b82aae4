"""Where the emulated host's files are kept: in the user's cache, each under the hash of what it is made of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.paths import PROJECT

INSIDE = Path(__file__).resolve().parent / "inside"
#: What this process has made because it was not there: its kind, and the seconds that this took.
made: dict[str, float] = {}
_OURS = ("_utils", "_modules", "_states", "_grains", "_beacons", "_output", "formulas", "pillar", "tools/install")


def cache() -> Path:
    """Return the folder ``vminterface/xen`` below ``$XDG_CACHE_HOME``, by default ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vminterface" / "xen"


def mark(*parts: str | Path) -> str:
    """Return a hash of texts and of files and folders with all that is below them."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            found.update(b"text\0" + part.encode() + b"\0")
            continue
        for path in sorted(_files(part)):
            name, data = path.relative_to(part.parent), path.read_bytes()
            found.update(f"{name}\0{path.stat().st_mode & 0o111}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:16]


def product() -> list[Path]:
    """Return the files and folders of this project that dom0 and the VMs get."""
    return [PROJECT / name for name in _OURS if (PROJECT / name).exists()]


def cached(kind: str, what: str, make: Callable[[Path], None]) -> Path:
    """Return the folder *kind* with the hash *what*; where there is none, *make* fills it, whole or not at all."""
    folder = cache() / f"{kind}-{what}"
    with _alone(kind):
        if folder.is_dir():
            return folder
        # What is left of others of its kind, or of one whose making was cut short, is of no use to anybody any more.
        for old in (*cache().glob(f"{kind}-*"), *cache().glob(f"half-made-{kind}-*")):
            shutil.rmtree(old, ignore_errors=True)
        began = time.monotonic()
        half = cache() / f"half-made-{kind}-{what}"
        half.mkdir()
        try:
            make(half)
            half.rename(folder)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        made[kind] = time.monotonic() - began
    return folder


@contextmanager
def _alone(kind: str) -> Iterator[None]:
    """Let others who want something of that kind wait for what is being made."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f".{kind}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")]
