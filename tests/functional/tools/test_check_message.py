"""A commit's message has a short subject and says why."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.paths import PROJECT

TOOL = PROJECT / "tools/check-message"


def check(folder: Path, text: str) -> tuple[int, str]:
    (folder / "COMMIT_EDITMSG").write_text(text)
    done = subprocess.run([TOOL, "COMMIT_EDITMSG"], cwd=folder, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "Add a field\n\nAdmins want it.\n",
        f"{'x' * 72}\n\nWhy.\n# Please enter the commit message\n",
        "Merge branch 'main' into it\n",
        "fixup! Add a field\n",
    ],
)
def test_a_good_message_passes(tmp_path: Path, text: str) -> None:
    assert check(tmp_path, text) == (0, "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "has no subject"),
        (f"{'x' * 73}\n\nWhy.\n", "the subject has 73 characters (expected at most 72)"),
        ("Add a field.\n\nWhy.\n", "the subject ends with a full stop"),
        ("Add a field\nWhy.\n", "the second line is not empty"),
        ("Add a field\n", "has no body that says why"),
        ("Add a field\n\n# Please enter the commit message\n", "has no body that says why"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, error: str) -> None:
    status, shown = check(tmp_path, text)
    assert status == 1
    assert f"COMMIT_EDITMSG: {error}" in shown


def test_every_commit_of_a_range_is_checked(tmp_path: Path) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    git = ["git", *identity]
    for words in (
        ["init", "--quiet"],
        ["commit", "--quiet", "--allow-empty", "--message", "Begin", "--message", "Why."],
        ["tag", "first"],
        ["commit", "--quiet", "--allow-empty", "--message", "Go on"],
        ["commit", "--quiet", "--allow-empty", "--message", "End", "--message", "Why."],
    ):
        subprocess.run([*git, *words], cwd=tmp_path, check=True, timeout=30)
    done = subprocess.run(
        [TOOL, "first", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.endswith(": has no body that says why: Go on")
