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
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded

INSIDE = Path(__file__).resolve().parent / "inside"
#: What this process has made because it was not there: its kind, and the seconds that this took.
made: dict[str, float] = {}
#: What ``tools/install`` copies, and itself.
_OURS = (
    "_utils", "_modules", "_states", "_grains", "_beacons", "_pillar", "_output", "_runners", "formulas", "pillar",
    "tools/install", "tools/synced.py",
)  # fmt: skip
#: Seconds to wait for another process that makes something.
_PATIENCE = 1200.0
#: The folder of each kind that this process makes use of, open and locked so that nobody removes it.
_held: dict[str, int] = {}


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
    """Return the folder *kind* with the hash *what*; where there is none, *make* fills it, whole or not at all.

    It stays until this process ends or asks for another one of its kind. Raises DeadlineExceeded when somebody else is
    busy with one for too long.
    """
    folder = cache() / f"{kind}-{what}"
    with alone(kind):
        if not folder.is_dir():
            began = time.monotonic()
            half = cache() / f"half-made-{kind}-{what}"
            shutil.rmtree(half, ignore_errors=True)  # of one whose making was cut short
            half.mkdir()
            try:
                make(half)
                half.rename(folder)
            except BaseException:
                shutil.rmtree(half, ignore_errors=True)
                raise
            made[kind] = time.monotonic() - began
        _hold(kind, folder)
        # Only now, so that what there was is left where no other can be made.
        for old in folders():
            if old.name.removeprefix("half-made-").startswith(f"{kind}-"):
                remove(old)
    return folder


def find(kind: str, what: str) -> Path | None:
    """Return the folder *kind* with the hash *what* as :func:`cached` does, None where it has not been made.

    Raises DeadlineExceeded when somebody else is busy with one of its kind for too long.
    """
    folder = cache() / f"{kind}-{what}"
    with alone(kind):
        if not folder.is_dir():
            return None
        _hold(kind, folder)
    return folder


def folders() -> list[Path]:
    """Return all that is kept."""
    return sorted(path for path in cache().glob("*-*") if path.is_dir())


def remove(folder: Path) -> bool:
    """Remove a folder of the cache, unless a process makes use of it; return whether it is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _hold(kind: str, folder: Path) -> None:
    if (former := _held.pop(kind, None)) is not None:
        os.close(former)
    _held[kind] = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(_held[kind], fcntl.LOCK_SH)


@contextmanager
def alone(kind: str) -> Iterator[None]:
    """Let others who want something of that kind wait for what is being made. Raises DeadlineExceeded."""
    cache().mkdir(parents=True, exist_ok=True)
    deadline = Deadline.after(_PATIENCE)
    with (cache() / f".{kind}").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline.passed:
                    what = f"another process has been busy with {cache()}/{kind}-* for {_PATIENCE:g} s"
                    raise DeadlineExceeded(what) from None
                time.sleep(0.1)
        yield


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    return [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")]
