"""Standard streams that are closed, full or without an end are one sentence for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = str(Path(__file__).parents[3] / "_utils")
FULL = "vminterface: standard output cannot be written: No space left on device\n"


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run *line*, in which ``$V`` is the command, in *folder*, which has a pillar."""
    (folder / "ok.sls").write_text("qubes: {vms: {work: {timezone: UTC}}}\n")
    env = {**os.environ, "PYTHONPATH": LIBRARY, "V": f"{sys.executable} -m vminterface", "XENSTORED_PATH": "/none"}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        "check ok.sls",
        "check --json ok.sls",
        "schema",
        "completion bash",
        "completion words -- ch",
        "--help",
        "get --json",
    ],
)
def test_an_output_that_is_full_is_one_sentence(tmp_path: Path, words: str) -> None:
    done = shell(tmp_path, f"$V {words} >/dev/full")
    assert (done.returncode, done.stderr) == (1, FULL)


def test_an_output_that_nobody_reads_is_said_nothing_of(tmp_path: Path) -> None:
    done = shell(tmp_path, "{ sleep 1; $V schema; echo $? >status; } | true")
    assert (done.stderr, (tmp_path / "status").read_text()) == ("", "1\n")


def test_an_output_that_is_closed_is_said_nothing_of(tmp_path: Path) -> None:
    done = shell(tmp_path, "$V check ok.sls >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_input_that_is_closed_or_without_an_end_is_one_sentence(tmp_path: Path) -> None:
    for line, said in (
        ("$V check - <&-", "-: cannot be read: standard input is closed"),
        ("$V check - </dev/zero", "-: is too long (expected at most 16 MiB)"),
        ("$V call work a.Service --stdin <&-", "standard input cannot be read: standard input is closed"),
        ("$V push --pillar /dev/zero", "/dev/zero: cannot be read: is not a regular file (expected a file, a pipe, or"),
        ("$V check ''", "'': is not the name of a file (expected a file, or - for standard input)"),
    ):
        done = shell(tmp_path, line)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1), done.stderr
        assert done.stderr.startswith(f"vminterface: {said}")
