"""The command ``vminterface formula``: put what Salt needs of this installation where file_roots can see it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import vminterface
from vminterface.cli.errors import WrongCall
from vminterface.errors import VMInterfaceError, printable

DONE = 0
#: The folders that Salt syncs, with the packages that a wheel has them as.
SALT_FOLDERS = {f"_{kind}": kind for kind in ("beacons", "grains", "modules", "output", "pillar", "runners", "states")}
_LIBRARY = Path(vminterface.__file__).resolve().parent
#: What an export has written, as sha256sum(1) prints it: a later one removes of these what is no longer shipped.
_MANIFEST = Path("vminterface/.exported")
_MANIFEST_LIMIT = 1 << 20

Command = Callable[[str, Any, str], argparse.ArgumentParser]
#: A file that is shipped, and its path below a folder of file_roots.
Pair = tuple[Path, Path]


class NotShipped(VMInterfaceError):
    """This installation has no formula, as that of a VM."""


def add(command: Command) -> None:
    """Add the command to those of the command line."""
    formula = command(
        "formula", _formula, "Export the formula, Salt's modules, the library, the example pillar and the pages."
    )
    formula.add_argument(
        "--export", required=True, metavar="DIR", help="a folder of Salt's file_roots, such as /srv/salt"
    )


def _formula(options: argparse.Namespace) -> int:
    if not options.export:
        raise WrongCall("formula: --export '' is not a folder (expected one of Salt's file_roots, such as /srv/salt)")
    written = export(Path(options.export))
    if options.json:
        print(json.dumps({"folder": options.export, "files": written}, indent=2, sort_keys=True))
    else:
        print(f"{options.export}: {len(written)} files written; the formula is {options.export}/vminterface")
    return DONE


def export(folder: Path, library: Path = _LIBRARY) -> list[str]:
    """Write what *library*'s installation ships below *folder* and return the paths there.

    Files that are shipped are renewed; one that an earlier export wrote and that is no longer shipped is removed if it
    is unchanged; everything else stays. Raises NotShipped without a formula, VMInterfaceError where a
    file cannot be read or written, or, before anything is written, where something else stands in its place.
    """
    pairs = sorted(_shipped(library), key=lambda pair: pair[1])
    try:
        if any(source.resolve().is_relative_to(folder.resolve()) for source, _ in pairs):
            raise NotShipped(f"{folder}: contains the files to export (expected another folder)")
        paths = [*(path for _, path in pairs), _MANIFEST]
        for path in paths:
            _refuse_what_is_in_the_way(folder / path)
        former, digests = _manifest(folder), {}
        for source, path in pairs:
            data = source.read_bytes()
            digests[path] = hashlib.sha256(data).hexdigest()
            _write(folder / path, data)
        for path in former.keys() - digests.keys():
            _remove(folder, path, former[path])
        lines = "".join(f"{digest}  {path}\n" for path, digest in digests.items())
        _write(folder / _MANIFEST, lines.encode())
    except OSError as error:
        raise VMInterfaceError(f"{error.filename or folder}: {os.strerror(error.errno or 0)}") from error
    return sorted(map(str, paths))


def _refuse_what_is_in_the_way(target: Path) -> None:
    """Raise VMInterfaceError if *target* is a directory, or what should be one above it is none."""
    if target.is_dir() and not target.is_symlink():
        raise VMInterfaceError(f"{printable(str(target), 400)}: is a directory (expected a file, or nothing)")
    for above in target.parents:
        if os.path.lexists(above):
            if not above.is_dir():
                raise VMInterfaceError(
                    f"{printable(str(above), 400)}: is not a directory (expected a directory, or nothing)"
                )
            return


def _write(target: Path, data: bytes) -> None:
    """Make *target* a file with *data* that everybody may read, whatever the umask: Salt's master may not be root."""
    missing = [above for above in target.parents if not above.exists()]
    for above in reversed(missing):
        above.mkdir()
        above.chmod(0o755)
    # Whatever was there, a link too, is replaced and not written through.
    target.unlink(missing_ok=True)
    with target.open("xb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)


def _manifest(folder: Path) -> dict[Path, str]:
    """Return what an earlier export wrote below *folder*, and the digest of each; lines that are none are left out."""
    found: dict[Path, str] = {}
    if not (folder / _MANIFEST).is_file():
        return found
    with (folder / _MANIFEST).open("rb") as file:
        text = file.read(_MANIFEST_LIMIT).decode(errors="replace")
    for line in text.splitlines():
        digest, _, name = line.partition("  ")
        path = Path(name)
        if path.parts and path.parts[0] in ("vminterface", *SALT_FOLDERS, "_utils") and ".." not in path.parts:
            found[path] = digest
    return found


def _remove(folder: Path, path: Path, digest: str) -> None:
    """Remove the file *path* below *folder* if it is as it was written, and folders that are empty without it."""
    target = folder / path
    if target.is_symlink() or not target.is_file() or hashlib.sha256(target.read_bytes()).hexdigest() != digest:
        return
    target.unlink()
    for above in path.parents[:-1]:
        if any((folder / above).iterdir()):
            return
        (folder / above).rmdir()


def _shipped(library: Path) -> Iterator[Pair]:
    """Yield the files that *library*'s installation ships: a wheel, a checkout, or a folder of file_roots."""
    # tools/install leaves a link to where the rest is, if it has put the library elsewhere.
    share, link = library / "share", library.with_name("salt")
    above = link.resolve() if link.is_symlink() else library.parents[1]
    if (share / "formulas/vminterface").is_dir():
        formula, pages, pillar = share / "formulas/vminterface", share / "docs", share / "pillar"
        folders = {name: library.parent / "saltext/vminterface" / kind for name, kind in SALT_FOLDERS.items()}
    else:
        flat = (above / "vminterface/init.sls").is_file()
        formula = above / ("vminterface" if flat else "formulas/vminterface")
        pages, pillar = (formula if flat else above) / "docs", (formula if flat else above) / "pillar"
        folders = {name: above / name for name in SALT_FOLDERS}
    if not (formula / "init.sls").is_file():
        raise NotShipped(f"{library}: there is no formula next to it (expected dom0's package, a wheel or a checkout)")
    for name, source in folders.items():
        # Salt needs no packages there, and others put their modules into these folders too.
        yield from _below(source, Path(name), without=("__init__.py",))
    yield from _below(library, Path("_utils/vminterface"), without=("share",))
    yield from _below(formula, Path("vminterface"), without=("docs", "pillar"))
    yield from _below(pages, Path("vminterface/docs"))
    yield from _below(pillar, Path("vminterface/pillar"))


def _below(source: Path, target: Path, without: tuple[str, ...] = ()) -> Iterator[Pair]:
    for path in source.rglob("*"):
        inside = path.relative_to(source)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not hidden and inside.parts[0] not in without:
            yield path, target / inside
