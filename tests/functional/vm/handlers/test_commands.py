"""What callers run here: qubes.VMShell and its kin give them a shell, qubes.VMExec and its kin one program."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.agentcall import Running, call
from tests.support.handlers import VM, Reply
from vminterface.wire.vmexec import encode

SHELLS = ["qubes.VMShell", "qubes.VMRootShell", "qubes.VMShell+WaitForSession"]
EXECS = ["qubes.VMExec", "qubes.VMExecGUI", "qubes.VMRootExec"]


@pytest.fixture
def vm(vm: VM) -> VM:
    vm.write("/bin/bash", mode=0o755)
    return vm


def execute(
    vm: VM, argv: list[str | bytes], data: bytes = b"", service: str = "qubes.VMExec", **environment: str
) -> Reply:
    argument = encode(argv)
    return call(vm, service, data, argument, timeout=30.0, QREXEC_SERVICE_ARGUMENT=argument, **environment)


@pytest.mark.parametrize("service", SHELLS)
def test_the_shell_reads_what_the_caller_sends(vm: VM, service: str) -> None:
    reply = call(vm, service, b'echo "$QREXEC_REMOTE_DOMAIN" "$BASH"; echo no >&2; exit 7\n')
    assert (reply.status, reply.stdout, reply.stderr) == (7, b"work /bin/bash\n", "no\n")


@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C"}, {"LC_CTYPE": ""}, {"LC_ALL": "C"}, {"LANG": "C.UTF-8"}])
@pytest.mark.parametrize("service", ["qubes.VMShell", "qubes.VMExec"])
def test_the_environment_is_the_one_that_the_agent_gives(vm: VM, service: str, given: dict[str, str]) -> None:
    show = ["cat", "/proc/self/environ"]
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/user", "QREXEC_REMOTE_DOMAIN": "work", **given}
    if service == "qubes.VMShell":
        reply = call(vm, service, b"cat /proc/$$/environ\n", timeout=30.0, **given)
    else:
        reply = execute(vm, list(show), b"", **given)
        environment["QREXEC_SERVICE_ARGUMENT"] = encode(show)
    assert reply.status == 0
    assert dict(one.split("=", 1) for one in reply.stdout.decode().split("\0")[:-1]) == environment


@pytest.mark.parametrize("service", SHELLS)
def test_the_command_gets_the_rest_of_the_input(vm: VM, service: str) -> None:
    data = os.urandom(4 << 20)
    assert call(vm, service, b"cat; exit\n" + data).stdout == data


def test_the_argument_for_a_session_is_taken_and_no_other(vm: VM) -> None:
    waiting = "WaitForSession"
    assert call(vm, "qubes.VMShell", b"echo x\n", waiting, QREXEC_SERVICE_ARGUMENT=waiting).stdout == b"x\n"
    refused = call(vm, "qubes.VMShell", b"echo x\n", "-c", QREXEC_SERVICE_ARGUMENT="-c")
    assert "'-c' is not an argument of this service" in refused.refused("qubes.VMShell")


def test_where_there_is_no_bash_the_plain_shell_answers(tmp_path: Path) -> None:
    reply = call(VM(tmp_path / "bare"), "qubes.VMShell", b"echo ${BASH:-none}\n")
    assert reply.status == 0
    assert reply.stdout in (b"none\n", b"/bin/sh\n")


def test_a_shell_without_input_ends_at_once(vm: VM) -> None:
    reply = call(vm, "qubes.VMShell")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")


@pytest.mark.parametrize("service", EXECS)
def test_every_argument_reaches_the_program_as_it_is(vm: VM, service: str) -> None:
    argv: list[str | bytes] = ["printf", "%s|", "", "ż ok", "-a", "$HOME; exit", b"\xff\n"]
    reply = execute(vm, argv, service=service)
    assert (reply.status, reply.stderr) == (0, "")
    assert reply.stdout == "|ż ok|-a|$HOME; exit|".encode() + b"\xff\n|"


def test_the_program_has_the_callers_streams_and_its_status_is_the_answer(vm: VM) -> None:
    data = os.urandom(4 << 20)
    assert execute(vm, ["cat"], data).stdout == data
    assert execute(vm, ["sh", "-c", "exit 200"]).status == 200
    assert execute(vm, ["sh", "-c", "kill -9 $$"]).status == -9
    assert execute(vm, ["sh", "-c", "echo no >&2"]).stderr == "no\n"


def test_the_program_inherits_no_ignored_signal_and_no_descriptor(vm: VM) -> None:
    script = "grep SigIgn /proc/self/status; ls /proc/self/fd | wc -l"
    ignored, descriptors = execute(vm, ["bash", "-c", script]).stdout.decode().splitlines()
    mask = int(ignored.removeprefix("SigIgn:"), 16)
    # Python ignores these two; what the tests' own parent ignores is none of the handler's doing.
    assert not any(mask & 1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    assert descriptors == "4"  # the three streams, and the folder that ls reads


def test_a_writer_ends_when_its_caller_goes(vm: VM) -> None:
    argument = encode(["yes"])
    with Running(vm, "qubes.VMExec", argument, QREXEC_SERVICE_ARGUMENT=argument) as running:
        assert running.read(4) == b"y\ny\n"
        running.hang_up()
        # By the signal, or by the error of a connection that was broken off with bytes in it.
        assert running.ended().status in (-signal.SIGPIPE, 1)


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "/etc/passwd/x", "a\n\x1b[0m", "ż"])
def test_a_program_that_is_not_there_is_told_in_one_line_with_127(vm: VM, program: str) -> None:
    reply = execute(vm, [program])
    assert reply.status == 127
    assert "does not exist" in reply.refused("qubes.VMExec")


@pytest.mark.parametrize("program", ["/etc/passwd", "/etc"])
def test_a_program_that_cannot_be_started_is_told_with_126(vm: VM, program: str) -> None:
    reply = execute(vm, [program])
    assert reply.status == 126
    assert "cannot be started" in reply.refused("qubes.VMExec")


@pytest.mark.parametrize("service", EXECS)
@pytest.mark.parametrize(
    "argument",
    [
        "",
        "+",
        "+ls",
        "-",
        "ls+-",
        "ls+-2f",
        "ls+-2",
        "ls+-00",
        "-00",
        "ls/",
        "ls -a",
        "ls\n",
        "ż",
        "ls+-GG",
        "a" * 66000,
    ],
)
def test_an_argument_that_is_no_command_is_refused(vm: VM, service: str, argument: str) -> None:
    call(vm, service, b"", *([argument] if argument else []), QREXEC_SERVICE_ARGUMENT=argument).refused(service)


def test_input_of_any_kind_is_the_programs_affair_alone(vm: VM) -> None:
    for data in (b"", b"\0" * (1 << 20), "ż".encode(), b"no newline"):
        assert execute(vm, ["cat"], data).stdout == data
