"""What ``make packages`` builds: the same bytes each time, and nothing of the tree left out of the sources."""

from __future__ import annotations

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from lab.paths import PROJECT

#: What describes the build itself, such as the machine's packages.
OF_THE_BUILD = (".buildinfo", ".changes")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.timeout(900)
def test_a_second_build_elsewhere_has_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    """Of another clone, under another mask of modes, in another language, zone and home."""
    clone, out = tmp_path / "clone", tmp_path / "out"
    subprocess.run(["git", "clone", "--quiet", PROJECT, clone], check=True, umask=0o077, timeout=60)
    environment = {**os.environ, "TZ": "Asia/Tokyo", "LANG": "C.UTF-8", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    subprocess.run(
        [clone / "tools/build-packages", out],
        env=environment,
        umask=0o077,
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert names(out) == names(dist)
    differ = {
        path.name
        for path in out.iterdir()
        if path.suffix not in OF_THE_BUILD and path.read_bytes() != (dist / path.name).read_bytes()
    }
    assert differ == set()


def test_the_sdist_has_every_file_of_the_tree(dist: Path) -> None:
    (sdist,) = dist.glob("saltext_vminterface-*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, check=True, capture_output=True, text=True, timeout=60)
    assert {path for path in listed.stdout.splitlines() if path != ".gitignore"} - held == set()


def test_the_wheel_has_formula_pillar_and_pages(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    shared = {
        f"vminterface/share/{path.relative_to(PROJECT)}"
        for folder in ("formulas", "pillar", "docs")
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert shared - held == set()
    assert {"saltext/vminterface/modules/qubes_vm.py", "vminterface/dom0/push/push.py"} <= held
