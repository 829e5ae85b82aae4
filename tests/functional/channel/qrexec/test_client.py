"""Service calls through a stand-in for the calling program: what handlers may do, and what is left afterwards."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.qrexec.messages import Kind, pack
from tests.support.rpcstandin import StandIn, child_states, until
from tests.support.stopwatch import Stopwatch
from vminterface.channel.qrexec import daemon as qrexec_daemon
from vminterface.channel.qrexec.client import (
    CONNECT_TIMEOUT_VARIABLE,
    PARALLEL_VARIABLE,
    Call,
    Qrexec,
    Reply,
)
from vminterface.channel.qrexec.program import PROGRAM_VARIABLE
from vminterface.errors import (
    CallRefused,
    DeadlineExceeded,
    InvalidValue,
    OutputTooLarge,
    ProgramFailed,
    ProgramMissing,
    ServiceFailed,
    ServiceNotFound,
    VMInterfaceError,
    VMNotRunning,
)

MIB = 1 << 20


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in; afterwards nothing may be left of what was started."""
    monkeypatch.setenv("STANDIN", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    standin = StandIn(tmp_path)
    children = len(child_states())
    descriptors = len(os.listdir("/proc/self/fd"))
    yield standin
    # The environment of this very process has no mark: monkeypatch changes it after /proc/self/environ was fixed.
    assert until(lambda: not standin.processes()), standin.processes()
    assert len(child_states()) == children, "a child was not reaped"
    assert len(os.listdir("/proc/self/fd")) == descriptors, "a descriptor was left open"
    assert os.listdir(tmp_path / "tmp") == [], "a file was left"
    assert threading.active_count() == 1 or until(
        lambda: not any(t.name.startswith("qrexec") for t in threading.enumerate())
    )


@pytest.fixture
def dom0(standin: StandIn) -> Qrexec:
    """Calls as dom0 makes them."""
    return Qrexec(standin.client)


class TestCommandLine:
    def test_a_call_is_what_the_daemon_hands_to_the_agent_byte_for_byte(self, tmp_path: Path) -> None:
        """In core-qrexec's message MSG_EXEC_CMDLINE: a data channel of domain 0 at port 513, and the command."""
        program = tmp_path / "qrexec-client"
        program.write_text(f'#!/bin/sh\nprintf %s "$3" >{tmp_path}/command\n')
        program.chmod(0o755)
        Qrexec(str(program)).call(Call("work", "qubes.SetMonitorLayout", user="user"))
        command = (tmp_path / "command").read_bytes()
        message = pack(Kind.COMMAND, struct.pack("<II", 0, 513) + command + b"\0")
        assert message[:16] == bytes.fromhex("00 02 00 00 32 00 00 00 00 00 00 00 01 02 00 00")
        assert message[16:] == b"user:QUBESRPC qubes.SetMonitorLayout dom0\0"

    def test_dom0_calls_as_the_default_user_unless_told_otherwise(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Who", 'echo "$QREXEC_USER $QREXEC_REMOTE_DOMAIN $QREXEC_SERVICE_FULL_NAME"')
        assert dom0.call(Call("work", "test.Who")) == Reply(b"DEFAULT dom0 test.Who\n", "", 0)
        assert dom0.call(Call("work", "test.Who", user="root")).untrusted_stdout == b"root dom0 test.Who\n"

    def test_an_argument_reaches_the_handler(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Argument", 'echo "$1"')
        assert dom0.call(Call("work", "test.Argument", "ls+--a+-2Fhome")).untrusted_stdout == b"ls+--a+-2Fhome\n"

    def test_a_handler_for_the_argument_goes_before_the_general_one(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.S", "echo general")
        standin.handler("work", "test.S+a", "echo special")
        assert dom0.call(Call("work", "test.S", "a")).untrusted_stdout == b"special\n"
        assert dom0.call(Call("work", "test.S", "b")).untrusted_stdout == b"general\n"

    def test_the_connection_timeout_is_passed_on_only_if_given(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.W", 'echo "${QREXEC_WAIT-none}"')
        assert dom0.call(Call("work", "test.W")).untrusted_stdout == b"none\n"
        assert Qrexec(standin.client, connect_timeout=30).call(Call("work", "test.W")).untrusted_stdout == b"30\n"

    def test_a_vm_calls_by_the_other_program(self, standin: StandIn) -> None:
        standin.handler("work", "test.Who", 'echo "$QREXEC_REMOTE_DOMAIN"')
        assert Qrexec(standin.client_vm).call(Call("work", "test.Who")).untrusted_stdout == b"caller\n"

    def test_which_program_it_is_can_be_said(self, standin: StandIn, tmp_path: Path) -> None:
        standin.handler("work", "test.Who", 'echo "$QREXEC_REMOTE_DOMAIN"')
        renamed = tmp_path / "call"
        renamed.symlink_to(standin.client_vm)
        assert Qrexec(str(renamed), in_dom0=False).call(Call("work", "test.Who")).untrusted_stdout == b"caller\n"

    @pytest.mark.parametrize(
        "seconds", [0, -1, 7 * 86400 + 1, 1e300, float("inf"), float("nan"), True, "5", None, [1]], ids=repr
    )
    def test_a_time_that_no_call_can_have_is_refused_before_anything_runs(
        self, standin: StandIn, dom0: Qrexec, seconds: Any
    ) -> None:
        standin.handler("work", "test.W", f"touch {standin.folder}/ran")
        with pytest.raises(InvalidValue, match=r"\(expected seconds, more than 0 and at most 604800\)$") as refused:
            dom0.call(Call("work", "test.W", timeout=seconds))
        assert refused.value.where == "timeout"
        assert not (standin.folder / "ran").exists()

    def test_a_call_may_have_a_week(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.W", "echo here")
        assert dom0.call(Call("work", "test.W", timeout=7 * 86400)).untrusted_stdout == b"here\n"

    def test_a_vm_cannot_choose_the_user(self, standin: StandIn) -> None:
        standin.handler("work", "test.Who", "echo ran")
        with pytest.raises(InvalidValue, match="only dom0 can choose the user"):
            Qrexec(standin.client_vm).call(Call("work", "test.Who", user="root"))

    def test_the_program_is_found_on_the_path_and_dom0s_goes_first(
        self, standin: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        standin.handler("work", "test.Who", 'echo "$QREXEC_REMOTE_DOMAIN"')
        monkeypatch.setenv("PATH", f"{standin.folder}:{os.environ['PATH']}")
        assert Qrexec().call(Call("work", "test.Who")).untrusted_stdout == b"dom0\n"
        os.unlink(standin.client)
        assert Qrexec().call(Call("work", "test.Who")).untrusted_stdout == b"caller\n"

    def test_the_environment_names_the_program_and_the_vms_time(
        self, standin: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        standin.handler("work", "test.W", 'echo "$QREXEC_WAIT"')
        monkeypatch.setenv(PROGRAM_VARIABLE, standin.client)
        monkeypatch.setenv(CONNECT_TIMEOUT_VARIABLE, "25")
        assert Qrexec().call(Call("work", "test.W")).untrusted_stdout == b"25\n"
        assert Qrexec(connect_timeout=30).call(Call("work", "test.W")).untrusted_stdout == b"30\n"
        assert Qrexec(standin.client_vm).call(Call("work", "test.W")).untrusted_stdout == b"\n"

    def test_the_environment_says_how_many_calls_are_made_at_a_time(
        self, standin: StandIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        standin.handler("work", "test.Slow", f"echo + >> {standin.folder}/n; sleep 0.2; echo - >> {standin.folder}/n")
        monkeypatch.setenv(PARALLEL_VARIABLE, "1")
        assert Qrexec(parallel=3).parallel == 3
        Qrexec(standin.client).call_many([Call("work", "test.Slow")] * 3)
        assert (standin.folder / "n").read_text().split() == ["+", "-"] * 3

    @pytest.mark.parametrize("variable", [CONNECT_TIMEOUT_VARIABLE, PARALLEL_VARIABLE])
    @pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "10000", "\u0663", " 3"])
    def test_what_is_no_number_there_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
    ) -> None:
        monkeypatch.setenv(variable, text)
        with pytest.raises(InvalidValue, match=rf"{variable}: .* is not valid \(expected a whole number"):
            Qrexec()

    def test_no_program_anywhere_is_said_so(self, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(standin.folder / "vms"))
        with pytest.raises(ProgramMissing, match="neither qrexec-client nor qrexec-client-vm"):
            Qrexec().call(Call("work", "test.Who"))
        with pytest.raises(ProgramMissing, match="missing-program is not installed"):
            Qrexec(str(standin.folder / "missing-program")).call(Call("work", "test.Who"))

    def test_a_program_of_no_known_format_is_said_so(self, standin: StandIn) -> None:
        broken = standin.folder / "broken"
        broken.write_bytes(b"\x7fELF")
        broken.chmod(0o755)
        with pytest.raises(ProgramFailed, match="cannot be started"):
            Qrexec(str(broken)).call(Call("work", "test.Who"))

    @pytest.mark.parametrize(
        "bad",
        [
            {"vm": ""}, {"vm": "-d"}, {"vm": "a b"}, {"vm": "a" * 32}, {"vm": "../x"}, {"vm": "@dispvm"}, {"vm": "a\n"},
            {"service": ""}, {"service": "+a"}, {"service": "a b"}, {"service": "s" * 256}, {"service": "-x"},
            {"service": "é"}, {"service": ".."}, {"argument": "a b"}, {"argument": "a" * 65001}, {"argument": "a\0"},
            {"argument": "a" * 64995}, {"argument": "ż"}, {"user": ""}, {"user": "a:b"}, {"user": "r oot"},
            {"user": "u" * 33},
        ],
    )  # fmt: skip
    def test_a_name_beyond_the_limits_is_refused_before_anything_runs(
        self, standin: StandIn, bad: dict[str, Any]
    ) -> None:
        witness = standin.folder / "witnessed"
        program = standin.folder / "witness"
        program.write_text(f"#!/bin/sh\ntouch {witness}\n")
        program.chmod(0o755)
        with pytest.raises(InvalidValue):
            Qrexec(str(program)).call(Call(**{"vm": "work", "service": "test.Service", **bad}))
        assert not witness.exists()


class TestStatus:
    def test_a_status_other_than_0_is_an_error_with_what_the_handler_said(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Fail", "echo 'no space' >&2; echo 'giving up' >&2; exit 3")
        with pytest.raises(ServiceFailed, match=r"^test.Fail in work: exit status 3: no space / giving up$") as info:
            dom0.call(Call("work", "test.Fail"))
        assert (info.value.status, info.value.stderr) == (3, "no space\ngiving up")

    def test_a_status_can_be_accepted_as_an_answer(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Fail", "echo cancelled; exit 127")
        assert dom0.call(Call("work", "test.Fail", accept=range(256))) == Reply(b"cancelled\n", "", 127)

    def test_127_is_no_such_service(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Other", "exit 0")
        with pytest.raises(ServiceNotFound, match=r"test\.Missing in work"):
            dom0.call(Call("work", "test.Missing"))

    def test_126_is_a_refusal(self, standin: StandIn) -> None:
        standin.handler("work", "test.Secret.refused", "")
        with pytest.raises(CallRefused, match="refused: Request refused"):
            Qrexec(standin.client_vm).call(Call("work", "test.Secret"))

    def test_a_vm_without_a_daemon_is_not_running(self, dom0: Qrexec) -> None:
        with pytest.raises(VMNotRunning, match=r"test\.Service in halted: the VM is not running"):
            dom0.call(Call("halted", "test.Service"))

    def test_older_programs_say_so_with_status_1(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("old", "test.S", "echo 'connect: Connection refused' >&2; exit 1")
        with pytest.raises(VMNotRunning):
            dom0.call(Call("old", "test.S"))

    @pytest.mark.parametrize(
        "words",
        ["connect: Connection refused", "connect: No such file or directory",
         "2026-01-01 00:00:00.000 qrexec-client[9]: qrexec-daemon-common.c:1:connect_unix_socket: "
         "connect /var/run/qubes/qrexec.work: No such file or directory"],
    )  # fmt: skip
    @pytest.mark.parametrize("status", [1, 125, 255])
    def test_a_service_that_says_the_same_is_a_failed_service(
        self, standin: StandIn, dom0: Qrexec, monkeypatch: pytest.MonkeyPatch, words: str, status: int
    ) -> None:
        standin.handler("work", "test.S", f"echo '{words}' >&2; exit {status}")
        monkeypatch.setenv(qrexec_daemon.FOLDER_VARIABLE, str(standin.folder))
        with socket.socket(socket.AF_UNIX) as daemon:
            daemon.bind(f"{standin.folder}/qrexec.work")
            daemon.listen()
            with pytest.raises(ServiceFailed, match=f"exit status {status}: "):
                dom0.call(Call("work", "test.S"))
        # The socket of a daemon that was killed stays behind.
        with pytest.raises(VMNotRunning):
            dom0.call(Call("work", "test.S"))

    @pytest.mark.parametrize(
        "words",
        ["bash: connect: Connection refused", "connect: Connection refused by peer", "no such domain",
         "bash: line 1: /dev/tcp/10.0.0.1/80: Connection refused", "connect /run/qrexec.other: Connection refused"],
    )  # fmt: skip
    def test_words_that_are_not_the_calling_programs_own_are_the_services(
        self, standin: StandIn, dom0: Qrexec, words: str
    ) -> None:
        standin.handler("work", "test.S", f"echo '{words}' >&2; exit 1")
        with pytest.raises(ServiceFailed, match="exit status 1: "):
            dom0.call(Call("work", "test.S"))

    def test_125_for_another_reason_is_a_failed_service(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.S", "echo 'qrexec connection timeout' >&2; exit 125")
        with pytest.raises(ServiceFailed, match="exit status 125: qrexec connection timeout"):
            dom0.call(Call("work", "test.S"))

    def test_a_calling_program_that_is_killed_is_told_apart_from_the_service(
        self, standin: StandIn, dom0: Qrexec
    ) -> None:
        standin.handler("work", "test.S", "kill -KILL $$")
        with pytest.raises(ProgramFailed, match="ended by signal 9"):
            dom0.call(Call("work", "test.S"))


class TestStreams:
    def test_a_handler_that_dies_at_once_is_reported_and_its_unread_input_is_not(
        self, standin: StandIn, dom0: Qrexec
    ) -> None:
        standin.handler("work", "test.S", "exit 4")
        with pytest.raises(ServiceFailed, match="exit status 4"):
            dom0.call(Call("work", "test.S", stdin=bytes(8 * MIB)))

    def test_a_handler_that_wants_no_more_input_may_succeed(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.S", "head -c 3")
        assert dom0.call(Call("work", "test.S", stdin=b"abc" * MIB)).untrusted_stdout == b"abc"

    def test_a_handler_that_dies_in_the_middle_is_reported(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.S", "head -c 100000; exit 9")
        with pytest.raises(ServiceFailed, match="exit status 9"):
            dom0.call(Call("work", "test.S", stdin=bytes(4 * MIB)))

    def test_a_flood_of_output_stops_at_the_bound(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Flood", "exec cat /dev/zero")
        started = Stopwatch()
        with pytest.raises(OutputTooLarge, match="more than 1048576 bytes"):
            dom0.call(Call("work", "test.Flood"))
        started.check(5)

    def test_the_bound_holds_for_output_that_is_written_elsewhere(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Flood", "exec cat /dev/zero")
        sink = io.BytesIO()
        with pytest.raises(OutputTooLarge):
            dom0.call(Call("work", "test.Flood", stdout_to=sink, stdout_limit=1000))
        assert len(sink.getvalue()) <= 1000

    def test_output_of_exactly_the_bound_is_taken(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.S", "head -c 1000 /dev/zero")
        assert dom0.call(Call("work", "test.S", stdout_limit=1000)).untrusted_stdout == bytes(1000)
        with pytest.raises(OutputTooLarge):
            dom0.call(Call("work", "test.S", stdout_limit=999))

    def test_a_flood_of_errors_is_cut_and_made_harmless(self, standin: StandIn, dom0: Qrexec) -> None:
        flood = r"printf '\033]0;owned\007\n\n' >&2; head -c 20000000 /dev/zero >&2; echo fine"
        standin.handler("work", "test.S", flood)
        reply = dom0.call(Call("work", "test.S"))
        assert reply.untrusted_stdout == b"fine\n"
        assert reply.stderr.startswith("\\x1b]0;owned\\x07\n\n\\x00")
        assert len(reply.stderr) < 5000
        assert all(c == "\n" or " " <= c <= "~" for c in reply.stderr)

    def test_64_mib_go_both_ways_at_once(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Echo", "exec cat")
        block = os.urandom(MIB)
        seen = hashlib.sha256()

        class Sink:
            def write(self, data: Any) -> None:
                seen.update(data)

        reply = dom0.call(
            Call("work", "test.Echo", stdin=(block for _ in range(64)), stdout_to=Sink(), stdout_limit=64 * MIB)
        )
        assert reply.untrusted_stdout == b""
        assert seen.digest() == hashlib.sha256(block * 64).digest()

    def test_input_comes_from_bytes_a_file_or_pieces(self, standin: StandIn, dom0: Qrexec, tmp_path: Path) -> None:
        standin.handler("work", "test.Echo", "exec cat")
        path = tmp_path / "input"
        path.write_bytes(b"from a file")
        with path.open("rb") as file:
            assert dom0.call(Call("work", "test.Echo", stdin=file)).untrusted_stdout == b"from a file"
        assert dom0.call(Call("work", "test.Echo", stdin=io.BytesIO(b"memory"))).untrusted_stdout == b"memory"
        assert dom0.call(Call("work", "test.Echo", stdin=[b"pie", b"", b"ces"])).untrusted_stdout == b"pieces"
        assert dom0.call(Call("work", "test.Echo")).untrusted_stdout == b""

    def test_input_from_a_pipe_is_sent_as_it_comes(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Echo", "exec cat")
        reading, writing = os.pipe()

        def feed() -> None:
            with open(writing, "wb", buffering=0) as file:
                for piece in (b"one ", b"two ", b"three"):
                    file.write(piece)
                    time.sleep(0.05)

        thread = threading.Thread(target=feed)
        thread.start()
        with open(reading, "rb") as file:
            assert dom0.call(Call("work", "test.Echo", stdin=file)).untrusted_stdout == b"one two three"
        thread.join()

    def test_a_pipe_that_never_ends_does_not_outlast_the_deadline(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Echo", "exec cat")
        reading, writing = os.pipe()
        with open(reading, "rb") as file, open(writing, "wb"), pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Echo", stdin=file, timeout=0.3))

    def test_an_early_answer_ends_the_sending(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Copy", "head -c 10 >/dev/null; echo refused; cat >/dev/null; exit 17")
        pieces = (bytes(MIB) for _ in range(10_000_000))
        reply = dom0.call(Call("work", "test.Copy", stdin=pieces, early_reply=True, accept=range(256)))
        assert (reply.untrusted_stdout, reply.status) == (b"refused\n", 17)

    def test_a_conversation_waits_for_what_the_service_says(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Ask", 'read a; echo "first $a"; read b; echo "second $b"')
        heard = bytearray()

        class Ear:
            def write(self, data: Any) -> None:
                heard.extend(data)

        def speak() -> Iterator[Any]:
            yield b"question\n"
            while b"first question\n" not in heard:
                yield None
            yield b"reply\n"

        dom0.call(Call("work", "test.Ask", stdin=speak(), stdout_to=Ear()))
        assert heard == b"first question\nsecond reply\n"

    def test_a_conversation_ends_when_the_service_says_no_more(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Ask", "exec >&-; cat >/dev/null")

        def wait() -> Iterator[Any]:
            while True:
                yield None

        assert dom0.call(Call("work", "test.Ask", stdin=wait(), timeout=5)).untrusted_stdout == b""

    def test_progress_is_told(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Echo", "exec cat")
        told = []
        dom0.call(Call("work", "test.Echo", stdin=bytes(MIB), progress=lambda *counts: told.append(counts)))
        assert told[-1] == (MIB, MIB)
        assert told == sorted(told)

    def test_a_fault_of_the_receiver_ends_the_service(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Flood", "exec cat /dev/zero")

        class Full:
            def write(self, data: Any) -> None:
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            dom0.call(Call("work", "test.Flood", stdout_to=Full()))


class TestDeadline:
    def test_a_service_that_never_ends_is_ended(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Hang", "exec sleep 1000")
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded, match=r"test\.Hang in work: no reply within 0\.3 s"):
            dom0.call(Call("work", "test.Hang", timeout=0.3))
        started.check(1.5)

    def test_one_that_ignores_the_request_to_end_is_killed(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Hang", "trap '' TERM; while :; do sleep 0.1; done")
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Hang", timeout=0.3))
        started.check(2.5)

    def test_one_that_reads_nothing_is_ended(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Hang", "exec sleep 1000")
        with pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Hang", stdin=bytes(4 * MIB), timeout=0.3))

    def test_one_that_closed_its_output_and_goes_on_is_ended(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Hang", "exec sleep 1000 >&- 2>&-")
        with pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Hang", timeout=0.3))

    def test_a_background_child_that_holds_the_output_is_ended_too(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Spawn", "sleep 1000 & echo started")
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Spawn", timeout=0.3))
        started.check(1.5)

    def test_a_background_child_that_ignores_the_request_to_end_is_killed(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Spawn", "(trap '' TERM; while :; do sleep 0.1; done) & echo started")
        with pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Spawn", timeout=0.3))

    def test_a_steady_trickle_does_not_move_the_deadline(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("work", "test.Trickle", "while :; do echo x; sleep 0.05; done")
        started = Stopwatch()
        with pytest.raises(DeadlineExceeded):
            dom0.call(Call("work", "test.Trickle", timeout=0.4))
        started.check(1.5)


def output_of(reply: Reply | VMInterfaceError) -> bytes:
    assert isinstance(reply, Reply), reply
    return reply.untrusted_stdout


class TestMany:
    def test_50_calls_with_8_in_flight_keep_their_order(self, standin: StandIn) -> None:
        standin.handler("work", "test.Slow", 'sleep 0.1; echo "$1"')
        replies = Qrexec(standin.client, parallel=8).call_many(Call("work", "test.Slow", str(n)) for n in range(50))
        assert [output_of(reply) for reply in replies] == [f"{n}\n".encode() for n in range(50)]

    def test_never_more_are_in_flight_than_allowed(self, standin: StandIn) -> None:
        folder = standin.folder / "flying"
        folder.mkdir()
        standin.handler("work", "test.Slow", f"touch {folder}/$1; ls {folder} | wc -l; sleep 0.05; rm {folder}/$1")
        replies = Qrexec(standin.client, parallel=3).call_many([Call("work", "test.Slow", f"n{n}") for n in range(12)])
        assert max(int(output_of(reply)) for reply in replies) <= 3

    def test_one_that_fails_or_hangs_costs_the_others_nothing(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("good", "test.S", "echo good")
        standin.handler("bad", "test.S", "exit 5")
        standin.handler("hung", "test.S", "exec sleep 1000")
        names = ["good", "hung", "bad", "halted", "good", "no name", *["good"] * 10]
        started = Stopwatch()
        outcomes = dom0.call_many([Call(name, "test.S", timeout=0.8) for name in names])
        started.check(2.5)
        kinds = {"good": Reply, "hung": DeadlineExceeded, "bad": ServiceFailed, "halted": VMNotRunning}
        assert [type(outcome) for outcome in outcomes] == [kinds.get(name, InvalidValue) for name in names]

    def test_no_calls_have_no_answers(self, dom0: Qrexec) -> None:
        assert dom0.call_many([]) == []

    def test_every_handler_of_many_that_hang_is_ended(self, standin: StandIn, dom0: Qrexec) -> None:
        standin.handler("hung", "test.S", "sleep 1000 & exec sleep 1000")
        outcomes = dom0.call_many([Call("hung", "test.S", timeout=0.3)] * 12)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}

    def test_less_than_one_at_a_time_is_refused(self) -> None:
        with pytest.raises(InvalidValue):
            Qrexec(parallel=0)


def test_a_caller_in_a_signal_handler_leaves_nothing(standin: StandIn) -> None:
    """KeyboardInterrupt in the middle of a call ends the service."""
    standin.handler("work", "test.Hang", "exec sleep 1000")
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), 2))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        Qrexec(standin.client).call(Call("work", "test.Hang"))
    timer.join()
    assert sys.exc_info() == (None, None, None)
