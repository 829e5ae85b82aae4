"""WaitForSession: it ends when the session is up, and in any case; systemctl and QubesDB's client are stand-ins."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time

import pytest

from tests.support.agentcall import Running
from tests.support.handlers import VM, Reply
from tests.support.stopwatch import Stopwatch

SERVICE = "qubes.WaitForSession"
CONFIGURATION = "etc/vminterface/handlers.conf"


@pytest.fixture
def vm(vm: VM) -> VM:
    vm.write(CONFIGURATION, "session-timeout = 2  # seconds\n")
    return vm


def program(vm: VM, name: str, script: str) -> None:
    place = vm.root.parent / "bin" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\ncd {vm.root.parent}\n{script}\n")
    place.chmod(0o755)


def qubesdb(vm: VM, **values: str) -> None:
    cases = "".join(f"/{key.replace('_', '-')}) echo '{value}';;" for key, value in values.items())
    program(vm, "qubesdb-read", f'case "$1" in {cases} *) exit 2;; esac')


def session(vm: VM, user: str = "user") -> None:
    """Bring the session of *user* up, as far as its socket shows."""
    folder = vm.root / "run/qubes"
    folder.mkdir(parents=True, exist_ok=True)
    # The path of a socket may have 107 bytes: it is made from within its folder.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"qrexec-server.{user}.sock")
    finally:
        os.fchdir(here)
        os.close(here)


def call(vm: VM, data: bytes = b"user\n", *arguments: str) -> Reply:
    return vm.call(SERVICE, data, *arguments, PATH=f"{vm.root.parent / 'bin'}:{os.environ['PATH']}")


@pytest.mark.parametrize("data", [b"", b"user", b"user\n", b"somebody else", b"\0" * 100_000])
def test_a_session_that_is_up_is_answered_at_once_whatever_name_is_sent(vm: VM, data: bytes) -> None:
    session(vm)
    began = Stopwatch()
    reply = call(vm, data)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    began.check(1.5)


def test_a_caller_that_never_closes_its_side_is_answered_too(vm: VM) -> None:
    session(vm)
    with vm.start(SERVICE) as process:
        assert process.wait(10) == 0


def test_a_session_that_comes_up_later_is_waited_for(vm: VM) -> None:
    timer = threading.Timer(0.7, session, [vm])
    timer.start()
    began = time.monotonic()
    assert call(vm).status == 0
    timer.join()
    assert time.monotonic() - began >= 0.7


def test_a_session_that_never_comes_up_costs_the_configured_time(vm: VM) -> None:
    began = Stopwatch()
    reason = call(vm).refused(SERVICE)
    assert reason == "the session of user (/run/qubes/qrexec-server.user.sock does not exist) was not up within 2 s"
    began.check(10, least=1.5)


def test_a_file_in_the_sockets_place_is_no_session(vm: VM) -> None:
    vm.write("run/qubes/qrexec-server.user.sock")
    assert "was not up within" in call(vm).refused(SERVICE)


def test_dom0_says_whose_session_it_is(vm: VM) -> None:
    qubesdb(vm, default_user="alice")
    session(vm, "alice")
    assert call(vm, b"bob\n").status == 0


def test_without_a_gui_there_is_no_session_to_wait_for(vm: VM) -> None:
    qubesdb(vm, qubes_gui_enabled="False")
    assert call(vm).status == 0


def test_the_users_service_manager_is_waited_for(vm: VM) -> None:
    session(vm)
    (vm.root / "run/systemd/system").mkdir(parents=True)
    (vm.root / f"run/user/{os.geteuid()}").mkdir(parents=True)
    program(
        vm,
        "systemctl",
        '[ "$*" = "--user show --property=SystemState --value" ] || exit 9\n'
        "echo x >> asked\n"
        "case $(wc -l < asked) in 1) echo 'no bus' >&2; exit 1;; 2) echo starting;; *) echo running;; esac",
    )
    assert call(vm).status == 0
    assert (vm.root.parent / "asked").read_text() == "x\n" * 3


def test_without_a_gui_a_service_manager_that_is_starting_is_waited_for(vm: VM) -> None:
    qubesdb(vm, qubes_gui_enabled="False")
    (vm.root / "run/systemd/system").mkdir(parents=True)
    program(vm, "systemctl", "echo x >> asked; case $(wc -l < asked) in 1) echo starting;; *) echo running;; esac")
    assert call(vm).status == 0
    assert (vm.root.parent / "asked").read_text() == "x\n" * 2


@pytest.mark.parametrize("why", ["no GUI", "nobody has logged in"])
def test_a_service_manager_that_nothing_will_start_is_not_waited_for(vm: VM, why: str) -> None:
    if why == "no GUI":
        qubesdb(vm, qubes_gui_enabled="False")
    else:
        session(vm)
    if why != "nobody has logged in":
        (vm.root / f"run/user/{os.geteuid()}").mkdir(parents=True)
    (vm.root / "run/systemd/system").mkdir(parents=True)
    program(vm, "systemctl", "echo x >> asked; echo 'Failed to connect to bus' >&2; exit 1")
    reply = call(vm)
    assert reply.status == 1
    reason = "systemctl ended with status 1: Failed to connect to bus"
    assert reply.refused(SERVICE) == f"user has neither a service manager nor a session to start one: {reason}"
    assert (vm.root.parent / "asked").read_text() == "x\n"


@pytest.mark.parametrize(("given", "used"), [({}, f"/run/user/{os.geteuid()}"), ({"XDG_RUNTIME_DIR": "/r"}, "/r")])
def test_the_service_manager_is_asked_in_the_users_folder(vm: VM, given: dict[str, str], used: str) -> None:
    session(vm)
    (vm.root / "run/systemd/system").mkdir(parents=True)
    program(vm, "systemctl", 'echo "$XDG_RUNTIME_DIR" > folder; echo running')
    path = f"{vm.root.parent / 'bin'}:{os.environ['PATH']}"
    assert vm.call(SERVICE, b"", PATH=path, **given).status == 0
    assert (vm.root.parent / "folder").read_text() == f"{used}\n"


def test_a_degraded_session_is_told_with_what_failed(vm: VM) -> None:
    session(vm)
    (vm.root / "run/systemd/system").mkdir(parents=True)
    failed = "printf 'one.service loaded failed failed One\\ntwo.service loaded failed failed Two\\n'"
    program(vm, "systemctl", f'case "$2" in show) echo degraded;; list-units) {failed};; esac')
    reply = call(vm)
    assert reply.status == 1
    assert reply.refused(SERVICE) == "the session is up, but these units failed: one.service, two.service"


@pytest.mark.parametrize("text", ["0", "-1", "soon", "86401", "1.5"])
def test_a_time_that_is_none_is_refused(vm: VM, text: str) -> None:
    vm.write(CONFIGURATION, f"session-timeout = {text}\n")
    assert f"'{text}' is not a valid session-timeout" in call(vm).refused(SERVICE)


def test_the_wait_ends_when_the_caller_goes(vm: VM) -> None:
    vm.write(CONFIGURATION, "session-timeout = 300\n")
    with Running(vm, SERVICE) as running:
        running.end_input()
        time.sleep(0.5)
        assert running.process.poll() is None
        running.hang_up()
        assert running.ended().status == 1


def test_the_agents_own_wait_goes_on_though_nobody_reads_what_is_said(vm: VM) -> None:
    """It starts this service before others; nothing tells that its streams are kept open."""
    reading, writing = os.pipe()
    os.close(reading)
    program_of_it = VM.start(vm, SERVICE)  # makes the program's file
    program_of_it.communicate(b"user\n", 30)
    environment = {"PATH": os.environ["PATH"], "HOME": "/home/user", "QREXEC_REMOTE_DOMAIN": "dom0"}
    words = [str(vm.root.parent / "programs" / SERVICE)]
    began = time.monotonic()
    waiting = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=environment)
    os.close(writing)
    waiting.wait(30)
    assert time.monotonic() - began > 1.5
