"""Where the emulated host's files are kept: in the user's cache, each under the hash of what it is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from lab.paths import PROJECT

INSIDE = Path(__file__).resolve().parent / "inside"
#: Generations of each thing that are kept: two checkouts may take turns.
_KEEP = 2
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
    if not folder.is_dir():
        half = cache() / f"half-made-{kind}-{what}-{os.getpid()}"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        try:
            make(half)
            half.rename(folder)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
    os.utime(folder)
    older = sorted(cache().glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)[_KEEP:]
    for one in older:
        shutil.rmtree(one, ignore_errors=True)
    return folder


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")]
