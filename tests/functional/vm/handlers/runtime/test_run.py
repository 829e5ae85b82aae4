"""How a call ends: one line and a status for every fault, nothing for a caller that is gone, no process left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.handlers import LIBRARY, VM

_PROGRAM = """
import sys, types
sys.path.insert(0, {library!r})
from vminterface import errors
from vminterface.vm.handlers.runtime import run, table
module = types.ModuleType("vminterface.vm.handlers.fake")
module.errors = errors
exec({body!r}, module.__dict__)
sys.modules[module.__name__] = module
table.SERVICES["test.Fake"] = table.Service("test.Fake", "fake")
sys.exit(run.main("test.Fake", {root!r}))
"""


def start(tmp_path: Path, body: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a handler whose ``handle(call)`` has the lines *body*."""
    text = "def handle(call):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    program = _PROGRAM.format(library=LIBRARY, body=text, root=str(tmp_path))
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    environment = {"PATH": os.environ["PATH"], "QREXEC_REMOTE_DOMAIN": "work"}
    return subprocess.Popen([sys.executable, "-IS", "-c", program], env=environment, **streams)  # type: ignore[call-overload,no-any-return]


def run(tmp_path: Path, body: str, data: bytes = b"") -> tuple[int, bytes, str]:
    with start(tmp_path, body) as process:
        stdout, stderr = process.communicate(data, 20)
    return process.returncode, stdout, stderr.decode("ascii")


def test_what_a_handler_writes_arrives_and_its_end_is_status_0(tmp_path: Path) -> None:
    assert run(tmp_path, "call.write(call.read_all(10) + call.source.encode())", b"abc") == (0, b"abcwork", "")


def test_a_handler_has_its_own_status(tmp_path: Path) -> None:
    assert run(tmp_path, "return 3") == (3, b"", "")
    assert run(tmp_path, "raise errors.ServiceFailed('no space', 28)") == (28, b"", "test.Fake: no space\n")


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        ("errors.InvalidValue('not so')", "not so"),
        ("errors.InvalidValue('one\\ntwo\\x1b[0m')", "one; two\\x1b[0m"),
        ("errors.InvalidValue('')", "failed"),
        ("ValueError('a\\nb')", "unexpected fault: ValueError: a; b"),
        ("KeyError('key')", "unexpected fault: KeyError: 'key'"),
        ("OSError(28, 'No space left on device', '/x')", "unexpected fault: [Errno 28] No space left on device: '/x'"),
        ("RecursionError('ż')", "unexpected fault: RecursionError: \\u017c"),
    ],
)
def test_every_fault_is_one_printable_line_and_status_1(tmp_path: Path, raised: str, line: str) -> None:
    assert run(tmp_path, f"raise {raised}") == (1, b"", f"test.Fake: {line}\n")


def test_a_long_fault_is_cut(tmp_path: Path) -> None:
    _, _, stderr = run(tmp_path, "raise errors.InvalidValue('x' * 100000)")
    assert len(stderr) < 500
    assert stderr.endswith("...\n")


def test_a_caller_that_is_gone_gets_no_complaint(tmp_path: Path) -> None:
    with start(tmp_path, "call.read_line(10)\nwhile True: call.write(b'x' * 65536)") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(10) == 1


def test_sigterm_ends_the_handler_and_what_it_started(tmp_path: Path) -> None:
    body = """
import os, threading
pid = os.getpid()
threading.Timer(0.5, os.kill, (pid, 15)).start()
try:
    call.machine.run(["sh", "-c", "echo $$ > pid; exec sleep 100"], timeout=60)
finally:
    open("cleaned", "w").close()
"""
    began = time.monotonic()
    with start(tmp_path, body, cwd=tmp_path) as process:
        stdout, stderr = process.communicate(b"", 20)
    assert (process.returncode, stdout, stderr) == (128 + signal.SIGTERM, b"", b"")
    assert time.monotonic() - began < 10
    assert (tmp_path / "cleaned").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_stream_that_is_closed_from_the_start_is_an_empty_one(tmp_path: Path, closed: int) -> None:
    vm = VM(tmp_path / "vm")
    vm.start("qubes.GetDate").communicate(b"", 20)
    program = tmp_path / "programs/qubes.GetDate"
    sign = "<" if closed == 0 else ">"
    shell = ["sh", "-c", f'exec "$0" {closed}{sign}&-', str(program)]
    environment = {"PATH": os.environ["PATH"], "QREXEC_REMOTE_DOMAIN": "dom0"}
    ended = subprocess.run(shell, env=environment, capture_output=True, timeout=20, check=False)
    assert ended.returncode == 0
    assert len(ended.stdout) == (0 if closed == 1 else 26)
    assert ended.stderr == b""


@pytest.mark.parametrize("service", ["qubes.Filecopy", "qubes.OpenInVM"])
def test_a_service_for_which_it_matters_who_calls_has_to_be_told(tmp_path: Path, service: str) -> None:
    vm = VM(tmp_path / "vm")
    (vm.root / "tmp").mkdir()
    vm.write("home/user/file")
    before = vm.content()
    reason = vm.call(service, bytes(1000), source=None).refused(service)
    assert reason == "QREXEC_REMOTE_DOMAIN is not set (expected: the qrexec agent starts this program)"
    assert vm.content() == before


def test_a_service_that_is_not_there_has_its_own_status(tmp_path: Path) -> None:
    reply = VM(tmp_path / "vm").call("qubes.Nonsense")
    assert reply.status == 127
    assert reply.refused("qubes.Nonsense") == "this VM has no handler for that service"


def test_neither_the_environment_nor_the_folder_changes_what_is_run(tmp_path: Path) -> None:
    vm = VM(tmp_path / "vm")
    evil = vm.write("evil/sitecustomize.py", "raise SystemExit(9)")
    (evil.parent / "select.py").write_text("raise SystemExit(9)")
    reply = vm.call("qubes.GetDate", PYTHONPATH=str(evil.parent), PYTHONSTARTUP=str(evil), PYTHONHOME="/nonexistent")
    assert reply.status == 0


def test_an_agent_that_hands_the_program_to_the_shell_gets_the_same_answer(tmp_path: Path) -> None:
    vm = VM(tmp_path / "vm")
    vm.call("qubes.GetDate")
    shell = ["/bin/sh", str(tmp_path / "programs/qubes.GetDate"), "nanoseconds"]
    environment = {"PATH": os.environ["PATH"], "QREXEC_REMOTE_DOMAIN": "dom0"}
    ended = subprocess.run(shell, env=environment, capture_output=True, timeout=20, check=False)
    assert (ended.returncode, len(ended.stdout), ended.stderr) == (0, 36, b"")


def test_a_handler_that_lies_in_dom0_answers_nobody(tmp_path: Path) -> None:
    (tmp_path / "proc/xen").mkdir(parents=True)
    (tmp_path / "proc/xen/capabilities").write_text("control_d\n")
    line = (
        "test.Fake: handler: this is dom0 (control_d in /proc/xen/capabilities), where the VM side must not run"
        " (expected a VM; vminterface handlers remove)\n"
    )
    assert run(tmp_path, "call.write(b'done')") == (1, b"", line)
