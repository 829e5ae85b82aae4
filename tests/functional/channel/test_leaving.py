"""Programs that are left to themselves: whether they fail soon is told, and nothing holds them up or ends them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import has_zombie, until
from tests.support.stopwatch import Stopwatch
from vminterface.channel import leaving
from vminterface.errors import ProgramFailed, ProgramMissing

LIBRARY = str(Path(leaving.__file__).parents[2])


def shell(script: str, seconds: float = 20.0, stdin: bytes = b"") -> Any:
    return leaving.leave(["sh", "-c", script], "the test", seconds, stdin=stdin)


def test_one_that_ends_soon_is_told_with_its_status_and_words() -> None:
    ended = shell("cat; echo out; echo err >&2; exit 5", stdin=b"in\n")
    assert (ended.status, ended.untrusted_stdout, ended.untrusted_stderr) == (5, b"", b"in\nout\nerr\n")
    assert shell("kill -9 $$").status == -9


def test_input_of_any_size_is_there_at_once() -> None:
    assert shell("wc -c", stdin=bytes(1 << 20)).untrusted_stderr.strip() == b"1048576"


def test_no_more_than_the_first_words_are_kept() -> None:
    ended = shell("head -c 1000000 /dev/zero; exit 3")
    assert (ended.status, ended.untrusted_stderr) == (3, bytes(4096))


def test_one_that_goes_on_may_say_what_it_likes(tmp_path: Path) -> None:
    script = f"while [ ! -e {tmp_path}/end ]; do head -c 99999 /dev/zero; sleep 0.02; done; echo well >{tmp_path}/ended"
    began = Stopwatch()
    assert shell(script, 0.2) is None
    began.check(5)
    time.sleep(0.2)
    (tmp_path / "end").touch()
    assert until((tmp_path / "ended").exists)
    assert (tmp_path / "ended").read_text() == "well\n"
    # Its end is taken note of, though nobody waits for it.
    assert until(lambda: not has_zombie())


def test_it_goes_on_when_this_program_has_ended(tmp_path: Path) -> None:
    script = f"sleep 0.5; head -c 99999 /dev/zero && echo well >{tmp_path}/ended"
    command = f"from vminterface.channel.leaving import leave; leave(['sh', '-c', {script!r}], 'x', 0.1)"
    environment = {**os.environ, "PYTHONPATH": LIBRARY}
    subprocess.run([sys.executable, "-W", "error", "-c", command], env=environment, check=True, timeout=30)
    assert not (tmp_path / "ended").exists()
    assert until((tmp_path / "ended").exists, 10)


def test_a_child_that_keeps_the_outputs_holds_nobody_up() -> None:
    began = Stopwatch()
    ended = shell("echo words; sleep 3 & exit 4")
    assert (ended.status, ended.untrusted_stderr) == (4, b"words\n")
    began.check(2.5)


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="the test: the program /no/such is not installed"):
        leaving.leave(["/no/such"], "the test", 1)
    bad = tmp_path / "bad"
    bad.write_text("no program")
    with pytest.raises(ProgramMissing, match=f"the test: the program {bad} may not be run"):
        leaving.leave([str(bad)], "the test", 1)
    bad.chmod(0o755)
    with pytest.raises(ProgramFailed, match="cannot be started: Exec format error"):
        leaving.leave([str(bad)], "the test", 1)
    assert until(lambda: not has_zombie())
