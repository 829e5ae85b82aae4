"""Programs: fed, heard within bounds, and ended at a deadline."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from vminterface.errors import DeadlineExceeded, OutputTooLarge, ProgramFailed, ProgramMissing
from vminterface.vm.machine.programs import Programs


def test_a_program_is_fed_and_heard() -> None:
    programs = Programs()
    data = os.urandom(300_000)
    assert programs.run(["cat"], input=data) == data
    assert programs.run(["sh", "-c", "echo $LC_ALL $EXTRA"], env={"EXTRA": "more"}) == b"C more\n"


def test_a_program_that_fails_says_why_in_one_line() -> None:
    with pytest.raises(ProgramFailed, match=r"^sh ended with status 3: no; \\x1b\[0m!$"):
        Programs().run(["sh", "-c", r"printf 'no\n\033[0m!\n' >&2; exit 3"])
    with pytest.raises(ProgramMissing, match="no-such-program is not installed"):
        Programs().run(["no-such-program"])
    with pytest.raises(OutputTooLarge):
        Programs().run(["cat", "/dev/zero"], limit=1000)


def test_a_program_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        Programs().run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/child; wait"], timeout=0.3)
    assert time.monotonic() - began < 5
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 30
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_program_is_searched_for_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
    (tmp_path / "first" / "tool").write_text("not executable")
    (tmp_path / "first" / "folder").mkdir()
    tool = tmp_path / "second" / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/first::{tmp_path}/missing:{tmp_path}/second")
    monkeypatch.chdir(tmp_path / "second")
    programs = Programs()
    assert programs.which("tool") == str(tool)
    assert programs.which(str(tool)) == str(tool)
    assert programs.which("folder") is None
    assert programs.which(f"{tmp_path}/first/tool") is None
    monkeypatch.setenv("PATH", "")
    assert programs.which("tool") is None
