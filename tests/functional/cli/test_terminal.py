"""On a terminal there are colours, and a line while a command is at work; nowhere else is there a trace of either."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.xenstored.fakexen import missing
from tests.support.dom0 import Dom0
from tests.support.stores import need
from vminterface.cli import terminal
from vminterface.cli.terminal import Progress, Style

LIBRARY = str(Path(__file__).parents[3] / "_utils")
PILLAR = "qubes:\n  vms:\n    work: {timezone: Asia/Tokyo}\n"
CLEAN = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM", "COLUMNS")}


@pytest.fixture
def dom0(tmp_path: Path) -> Iterator[Dom0]:
    need(missing())
    with Dom0(tmp_path / "x") as host:
        host.start_vm("work")
        (tmp_path / "pillar.sls").write_text(PILLAR)
        yield host


def on_terminal(
    dom0: Dom0, folder: Path, *words: str, meanwhile: Callable[[str], None] = lambda shown: None, **env: str
) -> tuple[int, str]:
    """Run the command with a terminal for its output and errors; *meanwhile* gets all that is shown so far."""
    master, slave = pty.openpty()
    own = {"PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.path, "TERM": "xterm", "COLUMNS": "80", **env}
    process = subprocess.Popen(
        [sys.executable, "-m", "vminterface", *words], env={**CLEAN, **own}, cwd=folder, stdin=subprocess.DEVNULL,
        stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    shown, end = "", time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if not select.select([master], [], [], 1)[0]:
                continue
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            shown += data.decode()
            meanwhile(shown)
        return process.wait(30), shown
    finally:
        process.kill()
        os.close(master)


def test_a_diff_shows_what_was_and_what_would_be_in_colours(dom0: Dom0, tmp_path: Path) -> None:
    status, shown = on_terminal(dom0, tmp_path, "diff", "--pillar", "pillar.sls")
    assert status == 3
    assert "timezone: \x1b[31mdefault\x1b[0m -> \x1b[32mAsia/Tokyo\x1b[0m" in shown
    status, shown = on_terminal(dom0, tmp_path, "get", "nosuch")
    assert status == 1
    assert "\x1b[31mvminterface:\x1b[0m nosuch: " in shown


@pytest.mark.parametrize(("no_color", "term"), [("1", "xterm"), ("", "dumb")])
def test_who_wants_none_gets_none(dom0: Dom0, tmp_path: Path, no_color: str, term: str) -> None:
    for words in (["diff", "--pillar", "pillar.sls"], ["get", "nosuch"]):
        assert "\x1b" not in on_terminal(dom0, tmp_path, *words, NO_COLOR=no_color, TERM=term)[1]


def test_an_empty_no_color_is_none(dom0: Dom0, tmp_path: Path) -> None:
    assert "\x1b[32mvalid" in on_terminal(dom0, tmp_path, "check", "pillar.sls", NO_COLOR="")[1]


def test_a_file_or_a_pipe_has_neither_colours_nor_a_line(dom0: Dom0, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vminterface", "diff", "--pillar", "pillar.sls"], cwd=tmp_path, capture_output=True,
        env={**CLEAN, "PYTHONPATH": LIBRARY, "XENSTORED_PATH": dom0.path, "TERM": "xterm"}, timeout=60, check=False,
    )  # fmt: skip
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\r" not in done.stdout + done.stderr


def test_a_command_that_waits_says_so_after_two_seconds_and_leaves_nothing_of_it(dom0: Dom0, tmp_path: Path) -> None:
    process = dom0.daemon.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)

    def go_on(shown: str) -> None:
        if "running for" in shown:
            process.send_signal(signal.SIGCONT)

    start = time.monotonic()
    status, shown = on_terminal(dom0, tmp_path, "get", "work", meanwhile=go_on)
    assert time.monotonic() - start >= 2
    assert status == 0
    lines = [one for one in shown.split("\r") if one.strip()]
    assert re.fullmatch(r"vminterface get: running for [2-9] s", lines[0])
    # What is on the screen at the end: each carriage return begins the line anew.
    assert set(screen(shown).split("\n")[0]) <= {" "}


def screen(shown: str) -> str:
    """Return what a terminal has at the end that knows carriage returns alone."""
    found = []
    for line in shown.replace("\r\n", "\n").split("\n"):
        cells: list[str] = []
        for part in line.split("\r"):
            cells[: len(part)] = part
        found.append("".join(cells))
    return "\n".join(found)


class Screen(io.StringIO):
    """A terminal that keeps what it is given."""

    def isatty(self) -> bool:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return True


def test_the_line_ends_before_the_first_word_of_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Screen()
    monkeypatch.setattr(sys, "stdout", both)
    monkeypatch.setattr(sys, "stderr", both)
    monkeypatch.setattr(terminal, "AFTER", 0.05)
    monkeypatch.setattr(terminal, "EVERY", 0.05)
    with Progress("export") as progress:
        progress.note("work, 1 of 2")
        while "work, 1 of 2" not in both.getvalue():
            time.sleep(0.01)
        print("result")
        time.sleep(0.2)
        print("more")
    assert sys.stdout is both
    assert screen(both.getvalue()).replace(" ", "") == "result\nmore\n"
    assert [one for one in threading.enumerate() if one.name == "progress" and one.is_alive()] == []


def test_what_is_quick_shows_no_line_and_no_terminal_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Screen()
    monkeypatch.setattr(sys, "stderr", both)
    with Progress("get"):
        pass
    with Progress("watch", desired=False):
        assert sys.stderr is both
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(terminal, "AFTER", 0.01)
    with Progress("get"):
        time.sleep(0.1)
    assert sys.stderr.getvalue() == both.getvalue() == ""


def test_a_terminal_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Screen()
    monkeypatch.setattr(sys, "stderr", gone)
    monkeypatch.setattr(terminal, "AFTER", 0.01)
    with Progress("get"):
        gone.close()
        time.sleep(0.1)
    assert Style(gone).on is False
