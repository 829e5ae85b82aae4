"""A program that a warm process has forked cannot tell that from a start of its own, nor can who waits for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import warm
from tests.support.warm import WarmPython

ENVIRONMENT = {"PATH": os.environ["PATH"], "A": "b"}
SURROUNDINGS = """
import json, os, signal, sys
print(json.dumps([
    sys.argv, sys.path, dict(os.environ), os.getcwd(), os.getppid(), os.getpgid(0) == os.getpid(), __name__, __file__,
    sys.stdin.read(), sorted(os.listdir("/proc/self/fd")), [str(signal.getsignal(n)) for n in (1, 2, 13, 15)],
    sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), [sys.stdin.encoding, sys.stdout.encoding],
]))
"""


@pytest.fixture(params=["", "measured"], ids=["warm", "new"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The way in which programs start; the second one is Python's own, for comparison."""
    if request.param:
        monkeypatch.setenv(warm.MEASURED, sys.executable)
    return str(request.param)


def program(folder: Path, text: str) -> str:
    file = folder / "program"
    file.write_text(f"#!{sys.executable} -IS\n{text}\n")
    file.chmod(0o755)
    return str(file)


def start(words: list[str], **options: Any) -> WarmPython:
    pipe = subprocess.PIPE
    return WarmPython(words, handler=True, env=ENVIRONMENT, stdin=pipe, stdout=pipe, stderr=pipe, **options)


@pytest.mark.parametrize("session", [False, True])
def test_its_surroundings_are_those_of_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: bool
) -> None:
    words = [program(tmp_path, SURROUNDINGS), "one", "two words"]
    found = []
    for measured in (False, True):
        if measured:
            monkeypatch.setenv(warm.MEASURED, sys.executable)
        with start(words, cwd=tmp_path, start_new_session=session) as process:
            stdout, stderr = process.communicate(b"input", 30)
        assert (process.returncode, stderr) == (0, b"")
        found.append(json.loads(stdout))
    assert found[0] == found[1]
    assert found[0][4:6] == [os.getpid(), session]


@pytest.mark.parametrize(
    ("text", "status", "last"),
    [
        ("print('done')", 0, b""),
        ("raise SystemExit(3)", 3, b""),
        ("raise SystemExit(256 + 4)", 4, b""),
        ("raise SystemExit('so')", 1, b"so"),
        ("1 / 0", 1, b"ZeroDivisionError: division by zero"),
        ("import os; os._exit(7)", 7, b""),
        ("import os, time; os.kill(os.getpid(), 2); time.sleep(20)", -signal.SIGINT, b"KeyboardInterrupt"),
        ("import os, time; os.kill(os.getpid(), 15); time.sleep(20)", -signal.SIGTERM, b""),
        ("import atexit, sys; atexit.register(sys.stderr.write, 'last'); raise SystemExit(2)", 2, b"last"),
        ("import os, threading; threading.Timer(0.1, os.write, [2, b'x']).start()", 0, b"x"),
        ("import os, sys; os.close(1); os.open('/dev/full', 1); print('x')", 120, b"No space left on device"),
    ],
)  # fmt: skip
def test_its_end_is_that_of_any_python(how: str, tmp_path: Path, text: str, status: int, last: bytes) -> None:
    with start([program(tmp_path, text)]) as process:
        _, stderr = process.communicate(b"", 30)
    assert process.returncode == status
    assert stderr.strip().endswith(last) if last else stderr == b""


def test_many_at_a_time_are_each_who_was_asked_for(tmp_path: Path) -> None:
    words = program(tmp_path, "import os, sys; print(os.getpid(), sys.argv[1])")

    def one(number: int) -> None:
        with start([words, str(number)]) as process:
            assert process.communicate(b"", 30)[0] == b"%d %d\n" % (process.pid, number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(40)))


def test_a_fork_has_a_warm_process_of_its_own(tmp_path: Path) -> None:
    words = [program(tmp_path, "raise SystemExit(5)")]
    with start(words) as process:
        process.communicate(b"", 30)
    if (pid := os.fork()) == 0:
        os._exit(start(words).wait(30))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


@pytest.mark.parametrize(
    "different", [{"PYTHONPATH": "/other"}, {"PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}, {"LD_PRELOAD": "/none"}]
)
def test_other_code_or_another_locale_starts_a_python_of_its_own(
    monkeypatch: pytest.MonkeyPatch, different: dict[str, str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(warm, "_server_of", asked.append)
    environment = {**os.environ, "PYTHONPATH": warm.LIBRARY, **different}
    WarmPython(["vminterface", "--version"], env=environment, stdout=-3, stderr=-3).wait(30)
    assert asked == []
