"""The keyboard step on real X servers: Xvfb, setxkbmap and xkbcomp."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.stores import need
from vminterface.errors import InvalidValue, ProgramFailed, VMInterfaceError
from vminterface.values.keyboard import KeyboardLayout
from vminterface.vm.apply import keyboard
from vminterface.vm.machine.machine import Machine

_PROGRAMS = ("Xvfb", "setxkbmap", "xkbcomp")


class XServer:
    """An Xvfb on a free display."""

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self._process = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", "320x240x8", "-nolisten", "tcp", "-noreset"],
            pass_fds=[writer],
            stderr=subprocess.DEVNULL,
        )
        os.close(writer)
        with open(reader) as numbers:
            self.display = f":{int(numbers.readline())}"

    def end(self) -> None:
        self._process.terminate()
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(10)

    def stop(self) -> None:
        """Let it take connections, as the kernel does for it, and answer none."""
        self._process.send_signal(signal.SIGSTOP)

    def query(self) -> dict[str, str]:
        """What setxkbmap says of the server: layout, variant, options."""
        text = subprocess.run(
            ["setxkbmap", "-display", self.display, "-query"], check=True, capture_output=True, text=True
        ).stdout
        return dict(re.findall(r"^(\w+): +(\S+)$", text, re.MULTILINE))

    def symbols(self) -> str:
        """The name of the symbols in use, such as pc_de_us_2_inet(evdev)."""
        text = subprocess.run(["xkbcomp", "-w", "0", self.display, "-"], check=True, capture_output=True).stdout
        found = re.search(rb'xkb_symbols "([^"]*)"', text)
        assert found is not None
        return found[1].decode()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[XServer]]:
    need("".join(f"no {p} (Debian packages xvfb, x11-xkb-utils)" for p in _PROGRAMS if shutil.which(p) is None))
    started: list[XServer] = []
    try:
        for _ in range(2):
            started.append(XServer())
        sockets = tmp_path / "tmp/.X11-unix"
        sockets.mkdir(parents=True)
        for server in started:
            (sockets / f"X{server.display[1:]}").touch()
        (sockets / "not-a-display").touch()
        yield started
    finally:
        for server in started:
            server.end()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (tmp_path / "home/user/.config").mkdir(parents=True)
    return Machine(str(tmp_path))


def test_every_server_gets_the_layout_and_us_as_second_group(servers: list[XServer], machine: Machine) -> None:
    note = keyboard.apply({"keyboard": "de+nodeadkeys+compose:caps"}, machine)
    assert note == f"layout de+nodeadkeys+compose:caps: on {', '.join(s.display for s in servers)}"
    for server in servers:
        asked = server.query()
        assert asked["layout"] == "de,us"
        assert asked["variant"] == "nodeadkeys,"
        assert asked["options"] == "compose:caps"
        assert "de(nodeadkeys)" in server.symbols()


def test_us_stays_alone_and_former_variant_and_options_are_cleared(servers: list[XServer], machine: Machine) -> None:
    keyboard.apply({"keyboard": "de+nodeadkeys+compose:caps"}, machine)
    keyboard.apply({"keyboard": "us++"}, machine)
    asked = servers[0].query()
    assert asked["layout"] == "us"
    assert "variant" not in asked
    assert "options" not in asked


def test_a_layout_that_x_does_not_know_is_refused_and_the_old_one_stays(
    servers: list[XServer], machine: Machine
) -> None:
    keyboard.apply({"keyboard": "pl+dvorak+"}, machine)
    before = [(server.query(), server.symbols()) for server in servers]
    with pytest.raises(ProgramFailed, match="setxkbmap ended with status"):
        keyboard.apply({"keyboard": "zz+nowhere+"}, machine)
    assert [(server.query(), server.symbols()) for server in servers] == before


class Refusing(Machine):
    """A machine on which the X server *display* takes no layout any more, though it answers."""

    display = ""

    def run(self, argv: Sequence[str], **options: Any) -> bytes:
        if argv[:3] == ["setxkbmap", "-display", self.display] and "-layout" in argv:
            raise ProgramFailed("setxkbmap ended with status 1", 1)
        return super().run(argv, **options)


def leave_sockets(machine: Machine, *numbers: int) -> None:
    for number in numbers:
        (Path(machine.root) / f"tmp/.X11-unix/X{number}").touch()


def test_a_server_that_refuses_puts_the_others_back(servers: list[XServer], machine: Machine) -> None:
    keyboard.apply({"keyboard": "pl++"}, machine)
    before = servers[0].query(), servers[0].symbols()
    refusing = Refusing(machine.root)
    refusing.display = servers[1].display
    with pytest.raises(ProgramFailed):
        keyboard.apply({"keyboard": "fr++"}, refusing)
    assert (servers[0].query(), servers[0].symbols()) == before


def test_a_display_that_cannot_be_reached_is_skipped_and_named(servers: list[XServer], machine: Machine) -> None:
    leave_sockets(machine, 32001)
    note = keyboard.apply({"keyboard": "fr++"}, machine)
    assert note == f"layout fr++: on {', '.join(s.display for s in servers)}; not reached: :32001"
    assert [server.query()["layout"] for server in servers] == ["fr,us", "fr,us"]
    assert machine.read_text("/run/vminterface/keyboard") == "fr++"


def test_a_server_that_is_stopped_costs_the_others_little(servers: list[XServer], machine: Machine) -> None:
    servers[1].stop()
    began = time.monotonic()
    note = keyboard.apply({"keyboard": "fr++"}, machine)
    assert time.monotonic() - began < 2 * keyboard.REACH + 5
    assert note.endswith(f"not reached: {servers[1].display}")
    assert servers[0].query()["layout"] == "fr,us"


def test_of_many_dead_sockets_a_few_are_named(servers: list[XServer], machine: Machine) -> None:
    leave_sockets(machine, *range(32001, 32033))
    note = keyboard.apply({"keyboard": "fr++"}, machine)
    assert re.search(r"; not reached: (:\d+, ){3}29 more$", note)
    assert servers[0].query()["layout"] == "fr,us"


def test_where_no_display_can_be_reached_that_is_a_fault(servers: list[XServer], machine: Machine) -> None:
    for server in servers:
        server.end()
    with pytest.raises(VMInterfaceError, match=r"cannot reach an X display \(:\d+, :\d+\): xkbcomp"):
        keyboard.apply({"keyboard": "fr++"}, machine)
    assert machine.read_text("/run/vminterface/keyboard") is None


def test_a_keymap_of_the_users_own_is_put_back_whole(servers: list[XServer], machine: Machine) -> None:
    keyboard.apply({"keymap": KeyboardLayout.parse("fr+oss").keymap().render()}, machine)
    refusing = Refusing(machine.root)
    refusing.display = servers[1].display
    with pytest.raises(ProgramFailed):
        keyboard.apply({"keyboard": "de++"}, refusing)
    assert re.split(r"\W|_", servers[0].symbols()) == re.split(r"\W|_", "pc+fr(oss)+inet(evdev)")


def test_a_bad_text_is_refused_before_anything_is_run(machine: Machine) -> None:
    for text in ("", "de;reboot", "de+-option+x", "+us", "a+b+c+d"):
        with pytest.raises(InvalidValue):
            keyboard.apply({"keyboard": text}, machine)
    with pytest.raises(InvalidValue):
        keyboard.apply({"keymap": "xkb_keymap {"}, machine)


@pytest.mark.parametrize("escaped", [False, True])
def test_a_keymap_is_compiled_as_it_is(servers: list[XServer], machine: Machine, escaped: bool) -> None:
    text = KeyboardLayout.parse("fr+oss").keymap().render()
    if escaped:
        text = text.replace("\n", "\\n").replace("\t", "\\x09")
    keyboard.apply({"keymap": text}, machine)
    for server in servers:
        assert "fr(oss)" in server.symbols()


def test_the_users_own_layout_goes_before_the_keymap(servers: list[XServer], machine: Machine) -> None:
    machine.write_file("/home/user/.config/qubes-keyboard-layout.rc", "cz+qwerty\n")
    note = keyboard.apply({"keymap": KeyboardLayout.parse("fr").keymap().render()}, machine)
    assert note.startswith("keymap from dom0, then the user's own layout cz+qwerty+: on ")
    assert servers[0].query()["layout"] == "cz"
    assert servers[0].query()["variant"] == "qwerty"


def test_a_choice_that_is_no_layout_is_passed_over(servers: list[XServer], machine: Machine) -> None:
    machine.write_file("/home/user/.config/qubes-keyboard-layout.rc", "$(reboot)\n")
    keyboard.apply({"keymap": KeyboardLayout.parse("fr").keymap().render()}, machine)
    assert "fr" in servers[0].symbols()


def test_a_keymap_that_xkbcomp_refuses_leaves_the_old_one(servers: list[XServer], machine: Machine) -> None:
    keyboard.apply({"keyboard": "pl++"}, machine)
    before = servers[0].symbols()
    with pytest.raises(ProgramFailed, match="xkbcomp"):
        keyboard.apply({"keymap": 'xkb_keymap { xkb_symbols { include "nowhere" }; };'}, machine)
    assert servers[0].symbols() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another user")
@pytest.mark.allow_skip
def test_on_a_whole_machine_root_acts_as_the_user_of_the_session(servers: list[XServer]) -> None:
    class Whole(Machine):
        """This machine, of which the step sees one X server and keeps no record."""

        def names(self, path: str) -> list[str]:
            return [f"X{servers[0].display[1:]}"]

        def write_file(self, path: str, data: str | bytes, mode: int = 0o644, *, fresh: bool = False) -> None:
            assert path == keyboard.STATE

        def run(self, argv: Sequence[str], **options: Any) -> bytes:
            ran.append(argv)
            return super().run(argv, **options)

    ran: list[Sequence[str]] = []
    keyboard.apply({"keyboard": "pl++"}, Whole(), user="nobody")
    assert servers[0].query()["layout"] == "pl,us"
    assert {tuple(argv[:4]) for argv in ran} == {("runuser", "-u", "nobody", "--")}


def test_without_x_the_layout_waits_for_it(machine: Machine) -> None:
    assert keyboard.apply({"keyboard": "pl++"}, machine) == "layout pl++: takes effect when X starts"
    assert machine.read_text("/run/vminterface/keyboard") == "pl++"
    assert keyboard.apply({}, machine) == "no keyboard from dom0: left unchanged"
    assert machine.read_text("/run/vminterface/keyboard") is None
