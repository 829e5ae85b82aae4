"""What everything rests on and is missing is named at once, with the package that brings it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.paths import PROJECT


def check(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROJECT / "tools/check-programs"], env={"PATH": str(path), **environment}, capture_output=True, text=True,
        timeout=30,
    )  # fmt: skip


def have(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("")
        (folder / name).chmod(0o755)


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    have(tmp_path, "make", "python3", "ip")
    done = check(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "missing here: git (Debian package git)\n"


def test_all_that_are_missing_are_named(tmp_path: Path) -> None:
    have(tmp_path, "ip")
    assert check(tmp_path).stderr == (
        "missing here: make (Debian package make), python3 (Debian package python3), git (Debian package git)\n"
    )


def test_another_python_that_is_named_will_do(tmp_path: Path) -> None:
    have(tmp_path, "make", "git", "ip")
    assert check(tmp_path).returncode == 1
    done = check(tmp_path, PYTHON="python3.13")
    assert (done.returncode, done.stderr) == (0, "")
