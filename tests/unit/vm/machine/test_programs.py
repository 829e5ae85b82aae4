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
    end = time.monotonic() + 5
    while Path(f"/proc/{child}/stat").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
