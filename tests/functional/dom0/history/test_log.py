"""The history's files: many writers, kills, a full disk, rotation. Whatever happens, the chain can be verified."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import vminterface
from vminterface.dom0.history import chain, log
from vminterface.dom0.history.chain import Head
from vminterface.dom0.history.log import History
from vminterface.dom0.transfer.wholefile import FileError

LIBRARY = str(Path(vminterface.__file__).parents[1])
#: Appends lines until it is killed.
WRITER = """
import sys
from vminterface.dom0.history.log import History
history, number = History(sys.argv[1], size_max=int(sys.argv[2])), 0
print("ready", flush=True)
while number < int(sys.argv[3]):
    number += 1
    history.append(lambda head: {"writer": sys.argv[4], "number": number, "text": "x" * 2000})
"""


def entry(text: str = "x") -> Any:
    def make(head: Head) -> Mapping[str, Any]:
        return {"text": text}

    return make


def writer(folder: Path, name: str, *, count: int = 1 << 30, size_max: int = 1 << 30) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(folder), str(size_max), str(count), name]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": LIBRARY}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_a_line_follows_the_other_and_the_newest_comes_first(tmp_path: Path) -> None:
    history = History(str(tmp_path / "log"))
    for text in ("a", "b", "c"):
        history.append(entry(text))
    assert [one["text"] for one in history.newest_first()] == ["c", "b", "a"]
    verdict = history.verify()
    assert (verdict.ok, verdict.lines) == (True, 3)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "log").iterdir()}
    assert modes == {"push.jsonl": 0o600, "push.head": 0o600}


def test_two_writers_at_once_lose_no_line_and_mix_none(tmp_path: Path) -> None:
    writers = [writer(tmp_path, name, count=150) for name in ("a", "b")]
    assert [one.wait(60) for one in writers] == [0, 0]
    entries = list(History(str(tmp_path)).newest_first())
    for name in ("a", "b"):
        assert [one["number"] for one in entries if one["writer"] == name] == list(range(150, 0, -1))
    assert History(str(tmp_path)).verify().ok


def test_a_writer_that_is_killed_leaves_a_chain_that_is_whole(tmp_path: Path) -> None:
    """Small files, so that some kills meet a rotation."""
    history = History(str(tmp_path), size_max=20_000)
    for turn in range(12):
        process = writer(tmp_path, str(turn), size_max=20_000)
        time.sleep(0.01 + 0.003 * turn)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        verdict = history.verify()
        assert verdict.ok, (turn, verdict.errors)
    history.append(entry())
    assert history.verify().ok


@pytest.mark.parametrize("cut", [1, 40, "newline"])
def test_a_torn_line_is_named_by_the_next_writer(tmp_path: Path, cut: Any) -> None:
    history = History(str(tmp_path))
    history.append(entry("before"))
    head = history.head()
    assert head is not None
    line = chain.line_of({"text": "torn"}, head, None)
    with open(history.path, "ab") as file:
        file.write(line if cut == "newline" else line[:cut])
    assert history.verify().ok
    assert history.verify().torn
    history.append(entry("after"))
    assert history.verify().ok
    texts = [one["text"] for one in history.newest_first()]
    assert texts == (["after", "torn", "before"] if cut == "newline" else ["after", "before"])


def test_old_lines_go_in_whole_files_and_the_rest_is_still_a_chain(tmp_path: Path) -> None:
    history = History(str(tmp_path), size_max=500, older_max=3)
    for number in range(60):
        history.append(entry(f"{number:0100}"))
    assert sorted(path.name for path in tmp_path.glob("*.jsonl*")) == [
        "push.jsonl", "push.jsonl.1", "push.jsonl.2", "push.jsonl.3",
    ]  # fmt: skip
    verdict = history.verify()
    assert verdict.ok, verdict.errors
    assert verdict.first > 1
    assert verdict.last == 60
    (tmp_path / "push.jsonl.3").unlink()
    (fault,) = history.verify().errors
    assert fault.startswith("push.jsonl.2:1: the history begins with line ")
    assert fault.endswith(" are missing")


def test_a_file_that_was_emptied_or_removed_is_noticed_and_written_on(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    for text in ("a", "b"):
        history.append(entry(text))
    os.truncate(history.path, 0)
    assert not history.verify().ok
    history.append(entry("c"))
    assert history.verify().errors == [
        "push.jsonl:1: the history begins with line 3: lines 1 to 2 are missing",
    ]
    (tmp_path / "push.head").unlink()
    assert "the head is missing" in history.verify().errors[-1]
    history.append(entry("d"))
    assert [one["n"] for one in history.newest_first()] == [4, 3]


def test_on_a_full_disk_nothing_of_a_line_is_left_and_a_notice_says_so(
    tmp_path: Path, notices: pytest.LogCaptureFixture
) -> None:
    history = History(str(tmp_path))
    history.append(entry("before"))
    size = os.path.getsize(history.path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What is beyond that is not written: a file system that is full does the same in the middle of a line.
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(size, chain.HEAD_SIZE) + 10, hard))
    try:
        history.keep(entry("x" * 2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (notice,) = notices.messages
    assert notice.startswith(f"this push is not in the history: {history.path}: ")
    assert os.path.getsize(history.path) == size
    history.append(entry("after"))
    verdict = history.verify()
    assert (verdict.ok, verdict.lines) == (True, 2)


def test_what_keeps_a_line_from_being_written_is_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "PATIENCE", 0.05)
    history = History(str(tmp_path / "log"))
    with history._locked():
        history.keep(entry())
    (tmp_path / "file").write_text("")
    History(str(tmp_path / "file")).keep(entry())
    os.mkfifo(tmp_path / "log" / "push.jsonl")
    history.keep(entry())

    def broken(head: Head) -> Mapping[str, Any]:
        raise ValueError("no entry")

    History(str(tmp_path / "other")).keep(broken)
    assert [message.partition(": ")[2].removeprefix(str(tmp_path)) for message in notices.messages] == [
        "/log/push.jsonl: another program has locked it for more than 0.05 s",
        "/file/push.jsonl: Not a directory",
        "/log/push.jsonl: not a regular file",
        "/other/push.jsonl: ValueError: no entry",
    ]


def test_a_line_that_is_not_ours_hides_none_that_is(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    history.append(entry("a"))
    with open(history.path, "ab") as file:
        file.write(b"\xff not json\n" + json.dumps([1]).encode() + b"\n")
    history.append(entry("b"))
    assert [one["text"] for one in history.newest_first()] == ["b", "a"]
    assert history.verify().errors == [
        "push.jsonl:2: not a valid line of the history (expected one JSON object)",
        "push.jsonl:3: not a valid line of the history (expected a JSON object with n and previous)",
    ]


@pytest.mark.parametrize("name", [log.NAME, f"{log.NAME}.1", log.HEAD])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_makes_no_reader_wait(tmp_path: Path, name: str, kind: str) -> None:
    history = History(str(tmp_path))
    history.append(entry())
    (tmp_path / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    readers: list[Any] = [history.head] if name == log.HEAD else [lambda: list(history.lines()), history.verify]
    for read in readers:
        with pytest.raises(FileError, match=r"push\.(jsonl|head)"):
            read()
