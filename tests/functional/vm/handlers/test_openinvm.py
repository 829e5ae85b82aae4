"""Files that another VM wants opened here: what the user does with them, and what goes back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.agentcall import Running, call, is_there, within
from tests.support.handlers import VM
from vminterface.errors import RemoteProtocolError
from vminterface.vm.handlers import openinvm

SERVICE = "qubes.OpenInVM"
MESSAGE = b"a.txt" + bytes(251) + b"hi\n"


def header(name: bytes) -> bytes:
    return name.ljust(256, b"\0")


@pytest.fixture
def vm(tmp_path: Path) -> VM:
    vm = VM(tmp_path / "vm")
    (vm.root / "tmp").mkdir()
    (vm.root / "home/user").mkdir(parents=True)
    return vm


@pytest.fixture
def opener(vm: VM):
    """Return a function that makes a shell script the opener; what it writes to "$NOTES" is returned by the path."""
    notes = vm.root.parent / "notes"

    def make(script: str, *words: str) -> Path:
        program = vm.root.parent / "opener"
        program.write_text(f"#!/bin/sh\nNOTES='{notes}'\n{script}\n")
        program.chmod(0o755)
        vm.write("/etc/vminterface/open-command", f"# what opens files\n'{program}' {' '.join(words)}\n")
        return notes

    return make


def leftovers(vm: VM) -> list[str]:
    return os.listdir(vm.root / "tmp")


def test_the_changed_content_goes_back_raw(vm: VM, opener) -> None:
    notes = opener('echo "$1" >"$NOTES"; stat -c %a "$1" "${1%/*}" >>"$NOTES"; cat "$1" >>"$NOTES"; echo more >>"$1"')
    answer = call(vm, SERVICE, MESSAGE)
    assert (answer.status, answer.stdout, answer.stderr) == (0, b"hi\nmore\n", "")
    path, mode, folder_mode, content = notes.read_text().splitlines()
    assert path.startswith(f"{vm.root}/tmp/work-")
    assert path.endswith("/a.txt")
    assert (mode, folder_mode, content) == ("600", "700", "hi")
    assert leftovers(vm) == []


def test_an_unchanged_file_is_not_sent(vm: VM, opener) -> None:
    opener('cat "$1" >/dev/null')
    answer = call(vm, SERVICE, MESSAGE)
    assert (answer.status, answer.stdout, answer.stderr) == (0, b"", "")
    assert leftovers(vm) == []


def test_an_edit_within_the_second_is_noticed_even_if_the_time_is_put_back(vm: VM, opener) -> None:
    opener('cp -p "$1" "$1.old"; printf ho >"$1"; touch -r "$1.old" "$1"')
    assert call(vm, SERVICE, MESSAGE).stdout == b"ho"
    assert leftovers(vm) == []


def test_an_editor_that_replaces_the_file_is_understood(vm: VM, opener) -> None:
    opener('cp "$1" "$1.new"; echo new >>"$1.new"; mv "$1.new" "$1"; cp "$1" "$1~"')
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nnew\n"
    assert leftovers(vm) == []


@pytest.mark.parametrize(
    "script",
    ['rm "$1"', 'rm "$1"; ln -s /etc/passwd "$1"', 'rm "$1"; mkfifo "$1"', 'rm "$1"; mkdir "$1"', ': >"$1"'],
    ids=["gone", "link", "pipe", "folder", "emptied"],
)
def test_nothing_goes_back_of_what_is_no_file_any_more(vm: VM, opener, script: str) -> None:
    opener(script)
    answer = call(vm, SERVICE, MESSAGE)
    assert (answer.status, answer.stdout) == (0, b"")
    assert leftovers(vm) == []


def test_a_file_to_be_viewed_only_cannot_be_written_and_never_goes_back(vm: VM, opener) -> None:
    notes = opener('stat -c "%a %n" "$1" >"$NOTES"; chmod 600 "$1"; echo more >>"$1"')
    answer = call(vm, SERVICE, header(b"view-only-a.txt") + b"hi\n")
    assert (answer.status, answer.stdout) == (0, b"")
    mode, path = notes.read_text().split(" ", 1)
    assert mode == "400"
    assert path.endswith("/a.txt\n")
    assert leftovers(vm) == []


def test_unusual_characters_of_the_name_are_replaced(vm: VM, opener) -> None:
    notes = opener('echo "${1##*/}" >"$NOTES"')
    assert call(vm, SERVICE, header("ż $x;.pdf".encode()) + b"x").status == 0
    assert notes.read_text() == "____x_.pdf\n"


def test_the_words_of_the_configured_opener_are_kept(vm: VM, opener) -> None:
    notes = opener('printf "%s|" "$1" "$2" >"$NOTES"', "'two words'", "--flag")
    assert call(vm, SERVICE, MESSAGE).status == 0
    assert notes.read_text() == "two words|--flag|"


@pytest.mark.parametrize("name", ["qubes-open", "xdg-open"])
def test_without_configuration_the_opener_of_the_desktop_is_taken(vm: VM, name: str) -> None:
    programs = vm.root.parent / "bin"
    programs.mkdir()
    (programs / name).write_text('#!/bin/sh\necho "by $XDG_CURRENT_DESKTOP" >"$1"\n')
    (programs / name).chmod(0o755)
    assert call(vm, SERVICE, MESSAGE, PATH=f"{programs}:/usr/bin:/bin").stdout == b"by X-Generic\n"


def test_without_any_opener_that_is_said(vm: VM) -> None:
    assert "looked for qubes-open, xdg-open" in call(vm, SERVICE, MESSAGE, PATH="/nowhere").refused(SERVICE)
    assert leftovers(vm) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "'open", "/nowhere/open\n"])
def test_an_opener_that_is_none_is_a_fault(vm: VM, text: str) -> None:
    vm.write("/etc/vminterface/open-command", text)
    call(vm, SERVICE, MESSAGE).refused(SERVICE)
    assert leftovers(vm) == []


def test_an_opener_that_fails_is_a_fault_unless_the_file_was_changed(vm: VM, opener) -> None:
    opener("echo noise; echo noise >&2; exit 4")
    assert "ended with status 4" in call(vm, SERVICE, MESSAGE).refused(SERVICE)
    opener('echo more >>"$1"; exit 4')
    answer = call(vm, SERVICE, MESSAGE)
    assert (answer.status, answer.stdout) == (0, b"hi\nmore\n")
    assert leftovers(vm) == []


def test_an_opener_that_returns_before_its_program_is_waited_for(vm: VM, opener) -> None:
    opener('(exec 0</dev/null >/dev/null 2>&1; exec setsid sh -c \'sleep 1; echo late >>"$0"\' "$1") &')
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nlate\n"
    assert leftovers(vm) == []


def test_a_program_that_has_the_file_open_is_waited_for(vm: VM, opener) -> None:
    opener('(exec 3>>"$1" 0</dev/null >/dev/null 2>&1; exec setsid sh -c "sleep 1; echo late >&3") &')
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nlate\n"


def test_after_the_configured_time_the_opener_is_ended_and_nothing_goes_back(vm: VM, opener) -> None:
    notes = opener('echo more >>"$1"; echo $$ >"$NOTES"; exec sleep 60')
    vm.write("/etc/vminterface/handlers.conf", "open-timeout = 1\n")
    assert "no answer within 1 s" in call(vm, SERVICE, MESSAGE).refused(SERVICE)
    assert not is_there(int(notes.read_text()))
    assert leftovers(vm) == []


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "soon", "9" * 30, "\u0661"])
def test_a_time_that_is_none_is_a_fault(vm: VM, opener, text: str) -> None:
    notes = opener('echo >"$NOTES"')
    vm.write("/etc/vminterface/handlers.conf", f"open-timeout = {text}\n")
    assert "/etc/vminterface/handlers.conf" in call(vm, SERVICE, MESSAGE).refused(SERVICE)
    assert not notes.exists()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"a.txt\n",
        MESSAGE[:255],
        bytes(256) + b"x",
        b"a" * 256 + b"x",
        header(b"../a") + b"x",
        header(b"/etc/passwd") + b"x",
        header(b".bashrc") + b"x",
        header(b"-rf") + b"x",
        header(b"view-only-") + b"x",
        header(b"view-only-.x") + b"x",
        header(b"a\nb") + b"x",
        header(b"a\x7fb") + b"x",
        b"a\0b".ljust(256, b"\0") + b"x",
        b"\xff" * (1 << 20),
        bytes(1 << 20),
    ],
)
def test_every_name_that_could_mean_something_else_is_refused(vm: VM, opener, message: bytes) -> None:
    notes = opener('echo >"$NOTES"')
    call(vm, SERVICE, message).refused(SERVICE)
    assert leftovers(vm) == []
    assert not notes.exists()


def test_a_header_cut_at_any_byte_is_refused(vm: VM) -> None:
    for length in range(256):
        with (
            within(vm, SERVICE, MESSAGE[:length]) as (received_call, _),
            pytest.raises(RemoteProtocolError, match=f"in {length} bytes"),
        ):
            openinvm.handle(received_call)
    assert leftovers(vm) == []


def test_an_argument_is_refused(vm: VM) -> None:
    call(vm, SERVICE, MESSAGE, "x", QREXEC_SERVICE_ARGUMENT="x").refused(SERVICE)


def test_a_large_file_goes_both_ways_whole(vm: VM, opener) -> None:
    opener('printf end >>"$1"')
    content = os.urandom(16 << 20)
    assert call(vm, SERVICE, header(b"a.bin") + content).stdout == content + b"end"


def wait_for(path: Path) -> str:
    limit = time.monotonic() + 20
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return path.read_text()


def test_the_users_program_is_left_alone_when_the_caller_goes(vm: VM, opener) -> None:
    notes = opener('echo begun >"$NOTES"; sleep 1; echo more >>"$1"; echo done >"$NOTES.done"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        wait_for(notes)
        running.hang_up()
        answer = running.ended()
    assert (answer.status, answer.stderr) == (1, "")
    assert Path(f"{notes}.done").exists()
    assert leftovers(vm) == []


def test_a_handler_that_is_ended_ends_the_opener_and_leaves_nothing(vm: VM, opener) -> None:
    notes = opener('echo $$ >"$NOTES"; exec sleep 60')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        pid = int(wait_for(notes))
        running.process.send_signal(signal.SIGTERM)
        answer = running.ended()
    assert answer.status == 143
    assert not is_there(pid)
    assert leftovers(vm) == []


def test_a_handler_that_is_ended_while_it_receives_starts_no_program(vm: VM, opener) -> None:
    notes = opener('echo >"$NOTES"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        answer = running.ended()
    assert answer.status == 143
    assert not notes.exists()
    assert leftovers(vm) == []
