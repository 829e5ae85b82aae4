"""Debian's packages for the emulated host, with a stand-in for apt and its archive, and packages made by dpkg-deb."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.xen import packages, paths
from vminterface.errors import ProgramFailed

PYTHON = f"python3.{sys.version_info.minor}"
KERNEL = "Package: linux-image-amd64\nVersion: 6.1\nDepends: linux-image-6.1.0-9-amd64 (= 6.1.9)\n"
#: What the lists say is in ``lists``, what an update makes of them in ``newest``; ``online`` is there with a network.
APT = """#!/bin/sh
cd {folder}
echo "${{0##*/}} $*" | cut -c1-60 >>log
case "${{0##*/}} $*" in
"apt-cache show"*) [ -e lists ] || {{ echo "E: No packages found" >&2; exit 100; }}; cat lists ;;
"apt-get -qq update") [ -e online ] || {{ echo "E: Could not resolve host" >&2; exit 100; }}; cp newest lists ;;
*download*)
    grep -q "^Version: $(cat version)$" lists || {{ echo "E: 404 Not Found" >&2; exit 100; }}
    cp one.deb "$OLDPWD" ;;
esac
"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder with apt's files: no lists yet, a network, packages of version 2."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "made", {})
    monkeypatch.setattr(paths, "_held", {})
    folder, programs = tmp_path / "apt", tmp_path / "bin"
    for made in (folder, programs):
        made.mkdir()
    for name in ("apt-get", "apt-cache"):
        (programs / name).write_text(APT.format(folder=folder))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin:/usr/sbin:/sbin")
    package(tmp_path / "tree", folder / "one.deb")
    (folder / "newest").write_text(lists("2"))
    (folder / "version").write_text("2\n")
    (folder / "online").touch()
    return folder


def lists(version: str, *without: str) -> str:
    names = [name for name in packages.NAMES if name not in without]
    return KERNEL + "".join(f"\nPackage: {name}\nVersion: {version}\n" for name in names)


def package(tree: Path, target: Path) -> None:
    library = tree / "usr/lib" / PYTHON
    library.mkdir(parents=True)
    (library / "module.py").write_text("answer = 42\n")
    (tree / "DEBIAN").mkdir()
    control = "Package: one\nVersion: 2\nArchitecture: all\nMaintainer: a test <test@localhost>\nDescription: a test\n"
    (tree / "DEBIAN/control").write_text(control)
    subprocess.run(["dpkg-deb", "--build", str(tree), str(target)], check=True, capture_output=True, timeout=60)


def asked(apt: Path) -> list[str]:
    return [" ".join(line.split()[:3]) for line in (apt / "log").read_text().splitlines()]


def half_made() -> list[Any]:
    return [folder for folder in paths.folders() if folder.name.startswith("half-made")]


def test_a_machine_without_package_lists_gets_them_first(apt: Path) -> None:
    root = packages.unpacked()
    assert (root / "usr/lib" / PYTHON / "module.py").exists()
    assert list((root / "usr/lib" / PYTHON).glob("__pycache__/module.*.pyc"))
    assert not (root.parent / "downloads").exists()
    assert asked(apt) == ["apt-cache show --no-all-versions", "apt-get -qq update",
                          "apt-cache show --no-all-versions", "apt-get -q -o"]  # fmt: skip


def test_with_lists_they_are_not_updated_and_nothing_is_downloaded_again(apt: Path) -> None:
    (apt / "lists").write_text(lists("2"))
    assert packages.unpacked() == packages.unpacked()
    assert asked(apt) == ["apt-cache show --no-all-versions", "apt-get -q -o", "apt-cache show --no-all-versions"]


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(lists("1"), id="versions that are gone"),
        pytest.param(lists("2").replace(KERNEL, ""), id="no kernel"),
        pytest.param(lists("2", "xen-utils-4.17"), id="a package not known"),
        pytest.param(lists("2", f"{PYTHON}-minimal"), id="no Python"),
    ],
)
def test_lists_that_are_too_old_or_not_whole_are_updated_once(apt: Path, known: str) -> None:
    (apt / "lists").write_text(known)
    assert packages.unpacked().is_dir()
    assert asked(apt).count("apt-get -qq update") == 1
    assert half_made() == []


def test_what_debian_does_not_have_is_named(apt: Path) -> None:
    (apt / "newest").write_text(lists("2", "xenstore-utils", "chrony"))
    with pytest.raises(ProgramFailed, match=r"do not name chrony, xenstore-utils; expected those of Debian 12"):
        packages.unpacked()
    (apt / "newest").write_text(lists("2", f"{PYTHON}-minimal", f"lib{PYTHON}-minimal"))
    with pytest.raises(ProgramFailed, match=f"have no {PYTHON}, on which this environment runs"):
        packages.unpacked()


def test_without_a_network_both_failures_are_told_and_nothing_is_left(apt: Path) -> None:
    (apt / "online").unlink()
    (apt / "lists").write_text(lists("1"))
    with pytest.raises(
        ProgramFailed, match=r"cannot be had from here: .*404 Not Found.*; and .*Could not resolve host"
    ):
        packages.unpacked()
    assert half_made() == []
    (apt / "lists").unlink()
    with pytest.raises(ProgramFailed, match=r"No packages found.*; and .*Could not resolve host"):
        packages.unpacked()
