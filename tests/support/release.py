"""The archive of a release, made of what is checked out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.paths import PROJECT
from vminterface import __version__


def archive(folder: Path) -> Path:
    """Put the archive into *folder* and return its path."""
    name = f"vminterface-{__version__}"
    made = folder / f"{name}.tar.gz"
    subprocess.run(
        ["git", "archive", f"--prefix={name}/", f"--output={made}", "HEAD"], cwd=PROJECT, check=True, timeout=60
    )
    return made
