"""The dialogs of qubes.SelectFile and qubes.SelectDirectory: stand-ins for every case, and zenity on an X server."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agentcall import Running, call, ends
from tests.support.handlers import VM
from tests.support.xservers import XServer

SERVICES = ["qubes.SelectFile", "qubes.SelectDirectory"]
BOTH = pytest.mark.parametrize("service", SERVICES)


@pytest.fixture
def desktop(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that installs a dialog program and gives the environment in which it is the only one."""

    def install(name: str, script: str) -> dict[str, str]:
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        for tool in ("sleep", "cat", "seq"):
            (programs / tool).write_text(f'#!/bin/sh\nexec {shutil.which(tool)} "$@"\n')
            (programs / tool).chmod(0o755)
        (programs / name).write_text(f"#!/bin/sh\nNOTES='{tmp_path}/notes'\n{script}\n")
        (programs / name).chmod(0o755)
        return {"PATH": str(programs), "DISPLAY": ":7"}

    return install


@pytest.mark.parametrize(
    ("service", "name", "arguments"),
    [
        ("qubes.SelectFile", "zenity", "--file-selection"),
        ("qubes.SelectDirectory", "zenity", "--file-selection --directory"),
        ("qubes.SelectFile", "kdialog", "--getopenfilename /home/user"),
        ("qubes.SelectDirectory", "kdialog", "--getexistingdirectory /home/user"),
    ],
)
def test_the_chosen_path_is_the_answer(
    vm: VM, desktop: Callable[..., Any], service: str, name: str, arguments: str
) -> None:
    environment = desktop(name, 'echo "$@" >"$NOTES"; echo "/home/user/a b (1).txt"')
    reply = call(vm, service, **environment)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"/home/user/a b (1).txt\n", "")
    assert (vm.root.parent / "notes").read_text() == f"{arguments}\n"


@BOTH
def test_a_cancelled_dialog_gives_nothing_and_status_1(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    reply = call(vm, service, **desktop("zenity", "echo 'Gtk-WARNING: noise' >&2; exit 1"))
    assert (reply.status, reply.stdout, reply.stderr) == (1, b"", "")


@BOTH
def test_a_dialog_without_a_display_was_not_cancelled(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    """As zenity ends then, of which an X server that is not there yet is the usual cause."""
    said = "echo '(zenity:7): Gtk-WARNING **: 12:00:00.000: cannot open display: :7' >&2; exit 1"
    assert "cannot open the display" in call(vm, service, **desktop("zenity", said)).refused(service)


@BOTH
def test_messages_without_end_do_not_hold_a_dialog_up(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    flood = "for i in $(seq 3000); do echo 'Gtk-WARNING: some fifty bytes that nobody asked for' >&2; done"
    reply = call(vm, service, **desktop("zenity", f"{flood}; echo /home/user/a"))
    assert (reply.status, reply.stdout) == (0, b"/home/user/a\n")


@BOTH
@pytest.mark.parametrize(
    "output",
    [
        r"/home/user/\305\274.txt\n",
        r"/a\n/b\n",
        r"/a;reboot\n",
        r"/a/../b\n",
        r"/a../b\n",
        r"/a \n",
        r"/a\033[0m\n",
        r"/a\000b\n",
        r"\n",
        r"",
        r"  \n",
    ],
)
def test_a_path_that_dom0_would_refuse_is_not_sent(
    vm: VM, desktop: Callable[..., Any], service: str, output: str
) -> None:
    call(vm, service, **desktop("zenity", f"printf '{output}'")).refused(service)


@BOTH
def test_a_dialog_that_says_without_end_is_ended(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    assert "wrote more than" in call(vm, service, **desktop("zenity", "exec cat /dev/zero")).refused(service)


@BOTH
def test_a_dialog_that_fails_is_a_fault(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    assert "ended with status 255" in call(vm, service, **desktop("zenity", "exit 255")).refused(service)


@BOTH
def test_without_a_desktop_or_a_program_that_is_said(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    assert "DISPLAY" in call(vm, service, PATH="/nowhere").refused(service)
    assert "expected zenity or kdialog" in call(vm, service, PATH="/nowhere", DISPLAY=":7").refused(service)


@BOTH
def test_an_argument_is_refused(vm: VM, service: str) -> None:
    call(vm, service, b"", "x", QREXEC_SERVICE_ARGUMENT="x").refused(service)


@BOTH
def test_the_dialog_closes_when_the_caller_goes(vm: VM, desktop: Callable[..., Any], service: str) -> None:
    notes = vm.root.parent / "notes"
    with Running(vm, service, **desktop("zenity", 'echo $$ >"$NOTES"; exec sleep 60')) as running:
        limit = time.monotonic() + 20
        while not notes.exists() or not notes.read_text().endswith("\n"):
            assert time.monotonic() < limit
            time.sleep(0.02)
        running.hang_up()
        reply = running.ended()
    assert (reply.status, reply.stdout) == (1, b"")
    assert ends(int(notes.read_text()))


@pytest.fixture
def display(server: str) -> Iterator[str]:
    """Give the name of the X server, on which no test leaves a window for the next one."""
    yield server
    for window in windows(server):
        xdotool(server, "windowkill", window)
    until(lambda: not windows(server))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Give the name of an X server of our own.

    It never resets itself: one that does, when xdotool has gone as its last client, refuses a zenity that comes then.
    """
    for program in ("Xvfb", "zenity", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = XServer.xvfb("1024x768x24")
    yield made.display
    made.end()


def xdotool(display: str, *words: str) -> str:
    environment = {**os.environ, "DISPLAY": display}
    done = subprocess.run(["xdotool", *words], env=environment, capture_output=True, timeout=30, check=False)
    return done.stdout.decode()


def windows(display: str) -> list[str]:
    return xdotool(display, "search", "--onlyvisible", "--class", "zenity").split()


def until(condition: Callable[..., Any]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.1)


def give_the_keyboard_to_zenity(display: str) -> None:
    """Without a window manager the window under the pointer has the keyboard once it is told so."""
    until(lambda: windows(display))
    time.sleep(1)
    (window,) = windows(display)
    xdotool(display, "mousemove", "--window", window, "200", "100", "windowfocus", "--sync", window)
    time.sleep(0.3)


@pytest.mark.allow_skip
@BOTH
def test_what_is_typed_into_zenity_is_the_answer(vm: VM, display: str, service: str) -> None:
    environment = {**os.environ, "DISPLAY": display}
    version = subprocess.check_output(["zenity", "--version"], env=environment, text=True, timeout=30)
    if not version.startswith("3."):
        pytest.skip(f"zenity {version.strip()}: its GTK 4 takes no typed name where there is no window manager")
    chosen = vm.root / "home/user/chosen"
    if service == "qubes.SelectFile":
        chosen.write_text("x")
    else:
        chosen.mkdir()
    with Running(vm, service, DISPLAY=display, HOME=str(vm.root / "home/user"), LC_ALL="C.UTF-8") as running:
        give_the_keyboard_to_zenity(display)
        # Its list of files takes the keyboard back once it has read the folder, which may be in the middle of the name.
        for _ in range(5):
            xdotool(display, "key", "ctrl+a")
            xdotool(display, "type", "--delay", "40", str(chosen))
            time.sleep(1)
            # The button by its letter: Return may go to the list of names that begin with what was typed.
            xdotool(display, "key", "alt+o")
            if select.select([running.stdout], [], [], 5)[0]:
                break
        reply = running.ended()
    assert (reply.status, reply.stdout) == (0, f"{chosen}\n".encode())


@BOTH
def test_zenity_without_its_x_server_was_not_cancelled(vm: VM, display: str, service: str) -> None:
    """Needs the real zenity alone: there is no display of that number."""
    assert "cannot open the display" in call(vm, service, DISPLAY=f"{display}99").refused(service)


@BOTH
def test_escape_cancels_zenity(vm: VM, display: str, service: str) -> None:
    with Running(vm, service, DISPLAY=display, HOME=str(vm.root / "home/user")) as running:
        give_the_keyboard_to_zenity(display)
        xdotool(display, "key", "Escape")
        reply = running.ended()
    assert (reply.status, reply.stdout, reply.stderr) == (1, b"", "")


@BOTH
def test_zenity_closes_when_the_caller_goes(vm: VM, display: str, service: str) -> None:
    with Running(vm, service, DISPLAY=display, HOME=str(vm.root / "home/user")) as running:
        until(lambda: windows(display))
        running.hang_up()
        reply = running.ended()
    assert reply.status == 1
    until(lambda: not windows(display))
