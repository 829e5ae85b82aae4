"""SetMonitorLayout on real X servers: Xorg with the video driver of VMs, and Xvfb; and the very calls that it makes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.handlers import VM
from tests.support.rpcstandin import until
from tests.support.stopwatch import Stopwatch
from tests.support.stores import need
from tests.support.xrandr import xrandr_in
from tests.support.xservers import DUMMY, XORG, XServer, lack
from vminterface.deadline import Deadline
from vminterface.errors import DeadlineExceeded
from vminterface.values.monitor import MonitorLayout
from vminterface.vm.handlers.setmonitorlayout import apply
from vminterface.vm.machine.machine import Machine

# Where the tests do not run as root. What is missing fails on CI nevertheless.
pytestmark = pytest.mark.allow_skip

SERVICE = "qubes.SetMonitorLayout"
TWO = b"1920 1080 0 0 508 285\n1280 800 1920 0\n"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XServer]:
    need(lack(XORG, DUMMY, "xrandr"))
    if os.geteuid() != 0:
        pytest.skip("only root starts Xorg")
    server = XServer.dummy(tmp_path_factory.mktemp("xorg"))
    yield server
    server.end()


@pytest.fixture
def xorg(started: XServer, tmp_path: Path) -> XServer:
    """The server with one monitor of 1024x768 and no mode of ours."""
    words = []
    for number in range(16):
        state = ["--off"] if number else ["--mode", "1024x768", "--pos", "0x0"]
        words += ["--output", f"DUMMY{number}", *state, "--set", "WIDTH_MM", "0", "--set", "HEIGHT_MM", "0"]
    started.xrandr(*words)
    for output, mode in attached(started):
        started.xrandr("--delmode", output, mode)
    for mode in {line.split()[0] for line in started.xrandr("-q").splitlines() if line.strip().startswith("QB")}:
        started.xrandr("--rmmode", mode)
    return started


@pytest.fixture
def xvfb() -> Iterator[XServer]:
    need(lack("Xvfb", "xrandr"))
    server = XServer.xvfb()
    yield server
    server.end()


def attached(server: XServer) -> list[tuple[str, str]]:
    """Return the modes of ours and the output that each belongs to."""
    found, output = [], ""
    for line in server.xrandr("-q").splitlines():
        if not line.startswith(" "):
            output = line.split()[0]
        elif line.startswith("   QB"):
            found.append((output, line.split()[0]))
    return found


def test_a_layout_is_one_call_after_each_missing_mode_has_been_made(vm: VM, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    xrandr_in(programs)
    outputs: dict[str, object] = {
        f"DUMMY{n}": {"modes": ["QB1920x1080"] * (n == 0), "at": None, "mm": {}} for n in range(4)
    }
    (programs / "xrandr:0.json").write_text(json.dumps({"modes": ["QB1920x1080"], "outputs": outputs}))
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "DISPLAY": ":0"}
    # A last line without its end is no line to today's handler, which then switches all outputs off.
    vm.call(SERVICE, b"1280 800 0 0", **environment).refused(SERVICE)
    assert not (programs / "xrandr.calls").exists()
    assert vm.call(SERVICE, TWO, **environment).status == 0
    assert (programs / "xrandr.calls").read_text().splitlines() == [
        "--newmode QB1280x800 83.50 1280 1352 1480 1680 800 803 809 831 -hsync +vsync",
        "--addmode DUMMY1 QB1280x800",
        "--output DUMMY0 --mode QB1920x1080 --pos 0x0 --primary --set WIDTH_MM 508 --set HEIGHT_MM 285"
        " --output DUMMY1 --mode QB1280x800 --pos 1920x0 --output DUMMY2 --off --output DUMMY3 --off",
    ]


def test_a_layout_is_shown_on_the_first_outputs_with_its_sizes(vm: VM, xorg: XServer) -> None:
    reply = vm.call(SERVICE, TWO, DISPLAY=xorg.display)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert xorg.layout() == ["DUMMY0 1920x1080+0+0 508mm x 285mm", "DUMMY1 1280x800+1920+0 0mm x 0mm"]
    assert vm.read("run/vminterface/monitors").encode() == TWO


def test_the_first_monitor_is_the_primary_one(vm: VM, xorg: XServer) -> None:
    xorg.xrandr("--output", "DUMMY1", "--mode", "1024x768", "--primary")
    assert vm.call(SERVICE, TWO, DISPLAY=xorg.display).status == 0
    primary = [line.split()[0] for line in xorg.xrandr("-q").splitlines() if " primary " in line]
    assert primary == ["DUMMY0"]


def test_a_layout_without_sizes_takes_those_of_the_one_before_away(vm: VM, xorg: XServer) -> None:
    assert vm.call(SERVICE, TWO, DISPLAY=xorg.display).status == 0
    assert vm.call(SERVICE, b"1920 1080 0 0\n1280 800 1920 0\n", DISPLAY=xorg.display).status == 0
    assert xorg.layout() == ["DUMMY0 1920x1080+0+0 0mm x 0mm", "DUMMY1 1280x800+1920+0 0mm x 0mm"]


def test_sizes_alone_are_shown(vm: VM, xorg: XServer) -> None:
    assert vm.call(SERVICE, b"1920 1080 0 0\n", DISPLAY=xorg.display).status == 0
    assert vm.call(SERVICE, b"1920 1080 0 0 190 106\n", DISPLAY=xorg.display).status == 0
    assert xorg.layout() == ["DUMMY0 1920x1080+0+0 190mm x 106mm"]


def test_the_same_layout_again_is_no_fault(vm: VM, xorg: XServer) -> None:
    for _ in range(2):
        assert vm.call(SERVICE, TWO, DISPLAY=xorg.display).status == 0
    assert len(xorg.layout()) == 2


def test_outputs_beyond_the_layout_are_switched_off(vm: VM, xorg: XServer) -> None:
    assert vm.call(SERVICE, b"800 600 0 0\n" * 16, DISPLAY=xorg.display).status == 0
    assert len(xorg.layout()) == 16
    assert vm.call(SERVICE, b"800 600 0 0\n", DISPLAY=xorg.display).status == 0
    assert xorg.layout() == ["DUMMY0 800x600+0+0 0mm x 0mm"]


def test_a_mode_whose_name_begins_like_another_is_another(vm: VM, xorg: XServer) -> None:
    assert vm.call(SERVICE, b"1920 1080 0 0\n", DISPLAY=xorg.display).status == 0
    assert vm.call(SERVICE, b"1920 108 0 0\n", DISPLAY=xorg.display).status == 0
    assert xorg.layout() == ["DUMMY0 1920x108+0+0 0mm x 0mm"]


@pytest.mark.parametrize("size", ["1366 768", "1 1", "1023 767", "3840 2160", "7680 4320"])
def test_the_picture_is_exactly_as_large_as_asked(vm: VM, xorg: XServer, size: str) -> None:
    width, height = size.split()
    assert vm.call(SERVICE, f"{size} 0 0\n".encode(), DISPLAY=xorg.display).status == 0
    assert xorg.layout() == [f"DUMMY0 {width}x{height}+0+0 0mm x 0mm"]


def test_a_layout_that_does_not_begin_at_the_corner_begins_there_on_x(vm: VM, xorg: XServer) -> None:
    reply = vm.call(SERVICE, b"800 600 900 100\n640 480 100 200\n", DISPLAY=xorg.display)
    assert (reply.status, reply.stderr) == (0, "")
    assert xorg.layout() == ["DUMMY0 800x600+800+0 0mm x 0mm", "DUMMY1 640x480+0+100 0mm x 0mm"]


def test_a_layout_that_x_refuses_leaves_everything_as_it_was(vm: VM, xorg: XServer) -> None:
    assert vm.call(SERVICE, TWO, DISPLAY=xorg.display).status == 0
    before, content = xorg.xrandr("--prop"), vm.content()
    reply = vm.call(SERVICE, b"16384 6144 0 0 11 12\n16383 6144 16384 0\n", DISPLAY=xorg.display)
    assert reply.refused(SERVICE) == (
        "a layout of 32767x6144 pixels does not fit into the X server's video memory: it needs 786408 KiB (RandR's own "
        "maximum is 32767x32767); raise the VM's feature gui-videoram-min and restart the VM"
    )
    after = xorg.xrandr("--prop")
    assert sorted(after.splitlines()) == sorted(before.splitlines())
    assert vm.content() == content


def test_a_screen_larger_than_x_can_have_is_refused_before_any_change(vm: VM) -> None:
    need(lack("Xvfb", "xrandr"))
    server = XServer.xvfb("1280x1024x24")
    try:
        before = server.xrandr("--prop")
        reason = vm.call(SERVICE, b"8000 600 0 0\n", DISPLAY=server.display).refused(SERVICE)
        assert (
            reason == "a layout of 8000x600 pixels is too large (expected at most 1280x1024: the limit of the X server)"
        )
        assert server.xrandr("--prop") == before
    finally:
        server.end()


def test_a_server_of_another_kind_shows_the_layout_on_what_it_has(vm: VM, xvfb: XServer) -> None:
    assert vm.call(SERVICE, b"800 600 0 0 300 200\n", DISPLAY=xvfb.display).status == 0
    assert xvfb.layout() == ["screen 800x600+0+0 0mm x 0mm"]


def test_more_monitors_than_outputs_are_refused_before_any_change(vm: VM, xvfb: XServer) -> None:
    before = xvfb.xrandr("--prop")
    reason = vm.call(SERVICE, b"640 480 0 0\n640 480 640 0\n", DISPLAY=xvfb.display).refused(SERVICE)
    assert reason == "2 monitors are too many (expected at most 1: the outputs of the X server)"
    assert xvfb.xrandr("--prop") == before
    assert not (vm.root / "run").exists()


def test_it_waits_for_a_server_that_starts_a_little_later(vm: VM) -> None:
    need(lack("Xvfb", "xrandr"))
    first = XServer.xvfb()
    display = first.display
    first.end()
    process = vm.start(SERVICE, DISPLAY=display)
    assert process.stdin is not None
    process.stdin.write(b"800 600 0 0\n")
    process.stdin.close()
    time.sleep(0.5)
    assert process.poll() is None
    with subprocess.Popen(["Xvfb", display, "-noreset", "-nolisten", "tcp"], stderr=subprocess.DEVNULL) as late:
        try:
            assert process.wait(20) == 0
        finally:
            late.terminate()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def test_without_a_server_it_gives_up_in_time(vm: VM) -> None:
    need(lack("xrandr"))
    began = Stopwatch()
    with pytest.raises(DeadlineExceeded, match=r"no X server replied at :65000 within 0\.5 s"):
        apply(MonitorLayout.parse("800 600 0 0\n"), Machine(str(vm.root)), Deadline.after(0.5), ":65000")
    began.check(5)


@pytest.mark.parametrize(
    ("service_on", "inherited", "display"),
    [(False, None, ":0"), (False, ":5", ":5"), (True, None, ":1"), (True, ":0", ":1")],
)
def test_the_display_is_the_first_or_the_second_where_other_vms_are_drawn(
    vm: VM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service_on: bool, inherited: str | None, display: str
) -> None:
    if service_on:
        vm.write("run/qubes-service/guivm-gui-agent")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "xrandr").write_text('#!/bin/sh\necho "asked $DISPLAY" >&2; exit 1\n')
    (programs / "xrandr").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(DeadlineExceeded, match=f"asked {display}$"):
        apply(MonitorLayout.parse("800 600 0 0\n"), Machine(str(vm.root)), Deadline.after(0.2), inherited)


def test_calls_at_the_same_time_come_one_after_the_other(vm: VM, xorg: XServer) -> None:
    (vm.root / "tmp/.X11-unix").mkdir(parents=True)
    processes = [vm.start(SERVICE, DISPLAY=xorg.display) for _ in range(6)]
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write(b"800 600 0 0\n" * (1 + number % 3))
        process.stdin.close()
    for process in processes:
        with process:
            assert process.stderr is not None
            assert process.stderr.read() == b""
            assert process.wait(30) == 0
    assert len(xorg.layout()) in (1, 2, 3)


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A PATH with an xrandr whose query that verifies a change takes for ever."""
    programs = tmp_path / "bin"
    programs.mkdir()
    changed = tmp_path / "changed"
    (programs / "xrandr").write_text(
        f'#!/bin/sh\ncase "$*" in *--mode*) touch {changed};; --prop) [ -e {changed} ] && sleep 100;; esac\n'
        f'exec {shutil.which("xrandr")} "$@"\n'
    )
    (programs / "xrandr").chmod(0o755)
    return f"{programs}:{os.environ['PATH']}"


def test_a_deadline_in_the_middle_leaves_what_was_shown(
    vm: VM, endless: str, xorg: XServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = xorg.layout()
    monkeypatch.setenv("PATH", endless)
    machine = Machine(str(vm.root))
    deadline = machine.deadline = Deadline.after(2)
    with pytest.raises(DeadlineExceeded, match="xrandr: no reply"):
        apply(MonitorLayout.parse(TWO.decode()), machine, deadline, xorg.display)
    assert xorg.layout() == before


def test_a_call_that_is_ended_in_the_middle_leaves_what_was_shown(vm: VM, endless: str, xorg: XServer) -> None:
    before = xorg.layout()
    process = vm.start(SERVICE, DISPLAY=xorg.display, PATH=endless)
    with process:
        assert process.stdin is not None
        process.stdin.write(TWO)
        process.stdin.close()
        assert until(lambda: len(xorg.layout()) == 2, 10)
        process.terminate()
        assert process.wait(20) == 143
    assert xorg.layout() == before
