"""Files that another VM wants opened here: what the user does with them, and what goes back."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.agentcall import Running, call, ends, is_there, within
from tests.support.handlers import VM
from vminterface.errors import RemoteProtocolError
from vminterface.vm.handlers import openinvm

SERVICE = "qubes.OpenInVM"
MESSAGE = b"a.txt" + bytes(251) + b"hi\n"


def header(name: bytes) -> bytes:
    return name.ljust(256, b"\0")


@pytest.fixture
def vm(vm: VM) -> VM:
    (vm.root / "tmp").mkdir()
    return vm


@pytest.fixture
def opener(vm: VM) -> Callable[..., Any]:
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


def test_the_changed_content_goes_back_raw(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo "$1" >"$NOTES"; stat -c %a "$1" "${1%/*}" >>"$NOTES"; cat "$1" >>"$NOTES"; echo more >>"$1"')
    reply = call(vm, SERVICE, MESSAGE)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"hi\nmore\n", "")
    path, mode, folder_mode, content = notes.read_text().splitlines()
    assert path.startswith(f"{vm.root}/tmp/work-")
    assert path.endswith("/a.txt")
    assert (mode, folder_mode, content) == ("600", "700", "hi")
    assert leftovers(vm) == []


def test_an_unchanged_file_is_not_sent(vm: VM, opener: Callable[..., Any]) -> None:
    opener(f'cat "$1" >/dev/null; sleep {openinvm.MOMENTS}')
    reply = call(vm, SERVICE, MESSAGE)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    assert leftovers(vm) == []


def test_an_edit_within_the_second_is_noticed_even_if_the_time_is_put_back(vm: VM, opener: Callable[..., Any]) -> None:
    opener('cp -p "$1" "$1.old"; printf ho >"$1"; touch -r "$1.old" "$1"')
    assert call(vm, SERVICE, MESSAGE).stdout == b"ho"
    assert leftovers(vm) == []


def test_an_editor_that_replaces_the_file_is_understood(vm: VM, opener: Callable[..., Any]) -> None:
    opener('cp "$1" "$1.new"; echo new >>"$1.new"; mv "$1.new" "$1"; cp "$1" "$1~"')
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nnew\n"
    assert leftovers(vm) == []


@pytest.mark.parametrize(
    "script",
    ['rm "$1"', 'rm "$1"; ln -s /etc/passwd "$1"', 'rm "$1"; mkfifo "$1"', 'rm "$1"; mkdir "$1"', ': >"$1"'],
    ids=["gone", "link", "pipe", "folder", "emptied"],
)
def test_nothing_goes_back_of_what_is_no_file_any_more(vm: VM, opener: Callable[..., Any], script: str) -> None:
    opener(script)
    reply = call(vm, SERVICE, MESSAGE)
    assert (reply.status, reply.stdout) == (0, b"")
    assert leftovers(vm) == []


def test_a_file_to_be_viewed_only_cannot_be_written_and_never_goes_back(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('stat -c "%a %n" "$1" >"$NOTES"; chmod 600 "$1"; echo more >>"$1"')
    reply = call(vm, SERVICE, header(b"view-only-a.txt") + b"hi\n")
    assert (reply.status, reply.stdout) == (0, b"")
    mode, path = notes.read_text().split(" ", 1)
    assert mode == "400"
    assert path.endswith("/a.txt\n")
    assert leftovers(vm) == []


def test_unusual_characters_of_the_name_are_replaced(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo "${1##*/}" >"$NOTES"; echo >>"$1"')
    assert call(vm, SERVICE, header("ż $x;.pdf".encode()) + b"x").status == 0
    assert notes.read_text() == "____x_.pdf\n"


def test_the_words_of_the_configured_opener_are_kept(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('printf "%s|" "$1" "$2" >"$NOTES"; echo >>"$3"', "'two words'", "--flag")
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
    assert "expected one of qubes-open, xdg-open" in call(vm, SERVICE, MESSAGE, PATH="/nowhere").refused(SERVICE)
    assert leftovers(vm) == []


@pytest.mark.parametrize("text", ["", "# nothing\n", "'open", "/nowhere/open\n"])
def test_an_opener_that_is_none_is_a_fault(vm: VM, text: str) -> None:
    vm.write("/etc/vminterface/open-command", text)
    call(vm, SERVICE, MESSAGE).refused(SERVICE)
    assert leftovers(vm) == []


def test_an_opener_that_fails_is_a_fault_unless_the_file_was_changed(vm: VM, opener: Callable[..., Any]) -> None:
    opener("echo noise; echo noise >&2; exit 4")
    assert "ended with status 4" in call(vm, SERVICE, MESSAGE).refused(SERVICE)
    opener('echo more >>"$1"; exit 4')
    reply = call(vm, SERVICE, MESSAGE)
    assert (reply.status, reply.stdout) == (0, b"hi\nmore\n")
    assert leftovers(vm) == []


def test_an_opener_that_returns_before_its_program_is_waited_for(vm: VM, opener: Callable[..., Any]) -> None:
    opener('(exec 0</dev/null >/dev/null 2>&1; exec setsid sh -c \'sleep 1; echo late >>"$0"\' "$1") &')
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nlate\n"
    assert leftovers(vm) == []


def test_a_program_that_has_the_file_open_is_waited_for(vm: VM, opener: Callable[..., Any]) -> None:
    opener('(exec 3>>"$1" 0</dev/null >/dev/null 2>&1; exec setsid sh -c "sleep 1; echo late >&3") &')
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nlate\n"


def test_after_the_configured_time_the_opener_is_ended_and_nothing_goes_back(
    vm: VM, opener: Callable[..., Any]
) -> None:
    notes = opener('echo $$ >"$NOTES"; exec sleep 60')
    vm.write("/etc/vminterface/handlers.conf", "open-timeout = 1\n")
    assert call(vm, SERVICE, MESSAGE).refused(SERVICE).endswith("no reply within 1 s")
    assert ends(int(notes.read_text()))
    assert leftovers(vm) == []


def kept(vm: VM, reason: str) -> Path:
    """Return the file that a refusal names as kept; it is alone in its folder, and that in ``/tmp``."""
    path = Path(reason.partition("; the file is kept as ")[2])
    assert [path.name] == os.listdir(path.parent)
    assert leftovers(vm) == [path.parent.name]
    return path


def test_a_file_that_was_changed_by_then_is_kept(vm: VM, opener: Callable[..., Any]) -> None:
    opener('echo more >>"$1"; exec sleep 60')
    vm.write("/etc/vminterface/handlers.conf", "open-timeout = 1\n")
    reason = call(vm, SERVICE, MESSAGE).refused(SERVICE)
    assert "no reply within 1 s; " in reason
    assert kept(vm, reason).read_text() == "hi\nmore\n"


class Editor:
    """A program that runs already: it is told of a file by the opener, which ends at once, and works with it later."""

    def __init__(self, vm: VM, opener: Callable[..., Any], work: Callable[..., Any]) -> None:
        notes = opener('echo "$1" >"$NOTES"')
        self.failed: list[BaseException] = []

        def edit() -> None:
            try:
                work(Path(wait_for(notes).removesuffix("\n")))
            except BaseException as error:
                self.failed.append(error)

        self._thread = threading.Thread(target=edit)
        self._thread.start()

    def done(self) -> None:
        self._thread.join(30)
        assert self.failed == []


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("late\n")


def replace(path: Path) -> None:
    other = path.with_name("a.txt~new")
    other.write_text(path.read_text() + "late\n")
    other.rename(path)


def rename_first(path: Path) -> None:
    text = path.read_text()
    path.rename(path.with_name("a.txt~"))
    path.write_text(text + "late\n")


@pytest.mark.parametrize("save", [append, replace, rename_first])
def test_a_running_program_that_was_handed_the_file_saves_it_seconds_later(
    vm: VM, opener: Callable[..., Any], save: Callable[..., Any]
) -> None:
    def work(path: Path) -> None:
        path.read_text()  # it shows the file at once, which is not the end of the work
        time.sleep(3.5)
        save(path)

    editor = Editor(vm, opener, work)
    reply = call(vm, SERVICE, MESSAGE)
    editor.done()
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"hi\nlate\n", "")
    assert leftovers(vm) == []


def test_an_opener_that_reads_the_file_itself_may_have_handed_it_on(vm: VM, opener: Callable[..., Any]) -> None:
    """As those do that look for its type first."""
    notes = opener('cat "$1" >/dev/null; echo "$1" >"$NOTES"')

    def save() -> None:
        time.sleep(1)
        append(Path(wait_for(notes).removesuffix("\n")))

    editor = threading.Thread(target=save)
    editor.start()
    assert call(vm, SERVICE, MESSAGE).stdout == b"hi\nlate\n"
    editor.join()


def test_what_a_running_program_has_not_saved_in_time_is_kept_for_it(vm: VM, opener: Callable[..., Any]) -> None:
    vm.write("/etc/vminterface/handlers.conf", "open-timeout = 1\n")
    opener('cat "$1" >/dev/null')
    reason = call(vm, SERVICE, MESSAGE).refused(SERVICE)
    assert reason.startswith("the program that opens the file: no reply within 1 s; the file is kept as ")
    path = kept(vm, reason)
    append(path)
    # It is nobody's leftover.
    opener('echo >>"$1"')
    assert call(vm, SERVICE, MESSAGE).status == 0
    assert path.read_text() == "hi\nlate\n"


def test_what_a_running_program_has_is_kept_when_the_caller_goes(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo "$1" >"$NOTES"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        path = Path(wait_for(notes).removesuffix("\n"))
        time.sleep(1)
        running.hang_up()
        assert running.ended().status == 1
    assert path.read_text() == "hi\n"


def test_a_file_to_be_viewed_only_is_done_when_a_running_program_has_read_it(
    vm: VM, opener: Callable[..., Any]
) -> None:
    editor = Editor(vm, opener, Path.read_text)
    reply = call(vm, SERVICE, header(b"view-only-a.txt") + b"hi\n")
    editor.done()
    assert (reply.status, reply.stdout) == (0, b"")
    assert leftovers(vm) == []


def test_a_file_whose_caller_goes_before_it_is_whole_is_not_opened(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo >"$NOTES"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.hang_up()
        assert running.ended().status == 1
    assert not notes.exists()
    assert leftovers(vm) == []


@pytest.mark.parametrize("when", ["receiving", "opened"])
def test_what_a_killed_handler_leaves_goes_with_the_next_call(vm: VM, opener: Callable[..., Any], when: str) -> None:
    notes = opener('exec 3<"$1"; echo "$1" >"$NOTES"; exec sleep 60 >/dev/null 2>&1')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        if when == "opened":
            running.end_input()
            wait_for(notes)
        else:
            limit = time.monotonic() + 20
            while not any(place.is_file() and place.name == "a.txt" for place in (vm.root / "tmp").rglob("*")):
                assert time.monotonic() < limit
                time.sleep(0.02)
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        running.process.kill()
        running.process.wait(30)
    assert len(leftovers(vm)) == 1
    opener('echo >>"$1"')
    if when == "opened":
        # Not while the user looks at it.
        assert call(vm, SERVICE, MESSAGE).status == 0
        assert len(leftovers(vm)) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        limit = time.monotonic() + 20
        while is_there(int(children[0])):
            assert time.monotonic() < limit
            time.sleep(0.02)
    assert call(vm, SERVICE, MESSAGE).status == 0
    assert leftovers(vm) == []


def test_what_the_user_has_changed_in_it_since_stays(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo "$1" >"$NOTES"; exec sleep 1')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        path = Path(wait_for(notes).removesuffix("\n"))
        running.process.kill()
        running.process.wait(30)
    append(path)
    opener('echo >>"$1"')
    assert call(vm, SERVICE, MESSAGE).status == 0
    assert path.read_text() == "hi\nlate\n"


def test_folders_of_others_and_of_calls_at_work_are_left_alone(vm: VM, opener: Callable[..., Any]) -> None:
    (vm.root / "tmp/some-abcdefgh").mkdir()
    notes = opener('echo "$1" >"$NOTES"; while [ ! -e "$NOTES.go" ]; do sleep 0.1; done; echo more >>"$1"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        wait_for(notes)
        first = notes.read_text()
        opener('echo >>"$1"')
        assert call(vm, SERVICE, MESSAGE).status == 0
        assert Path(first.removesuffix("\n")).exists()
        Path(f"{notes}.go").touch()
        assert running.ended().stdout == b"hi\nmore\n"
    assert leftovers(vm) == ["some-abcdefgh"]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "soon", "9" * 30, "\u0661"])
def test_a_time_that_is_none_is_a_fault(vm: VM, opener: Callable[..., Any], text: str) -> None:
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
        header(b".") + b"x",
        header(b"..") + b"x",
        header(b"view-only-") + b"x",
        header(b"view-only-..") + b"x",
        header(b"a\nb") + b"x",
        header(b"a\x7fb") + b"x",
        b"a\0b".ljust(256, b"\0") + b"x",
        b"\xff" * (1 << 20),
        bytes(1 << 20),
    ],
)
def test_every_name_that_could_mean_something_else_is_refused(
    vm: VM, opener: Callable[..., Any], message: bytes
) -> None:
    notes = opener('echo >"$NOTES"')
    call(vm, SERVICE, message).refused(SERVICE)
    assert leftovers(vm) == []
    assert not notes.exists()


@pytest.mark.parametrize("name", [".gitignore", "-x.txt", "...", "--help"])
def test_a_name_may_begin_with_a_dot_or_a_dash(vm: VM, opener: Callable[..., Any], name: str) -> None:
    notes = opener('echo "$1" >"$NOTES"; echo more >>"$1"')
    reply = call(vm, SERVICE, header(name.encode()) + b"hi\n")
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"hi\nmore\n", "")
    path = notes.read_text().rstrip("\n")
    assert path.startswith(f"{vm.root}/tmp/work-"), "no opener takes it for an option"
    assert path.endswith(f"/{name}")
    assert leftovers(vm) == []


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


def test_a_large_file_goes_both_ways_whole(vm: VM, opener: Callable[..., Any]) -> None:
    opener('printf end >>"$1"')
    content = os.urandom(16 << 20)
    assert call(vm, SERVICE, header(b"a.bin") + content).stdout == content + b"end"


def wait_for(path: Path) -> str:
    limit = time.monotonic() + 20
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return path.read_text()


def test_the_users_program_is_left_alone_when_the_caller_goes(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo begun >"$NOTES"; sleep 1; echo more >>"$1"; echo done >"$NOTES.done"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        wait_for(notes)
        running.hang_up()
        reply = running.ended()
    assert (reply.status, reply.stderr) == (1, "")
    assert Path(f"{notes}.done").exists()
    # What the user has made of it has nowhere to go, and is not thrown away.
    (folder,) = leftovers(vm)
    assert (vm.root / "tmp" / folder / "a.txt").read_text() == "hi\nmore\n"


def test_a_handler_that_is_ended_ends_the_opener_and_leaves_nothing(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo $$ >"$NOTES"; exec sleep 60')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        running.end_input()
        pid = int(wait_for(notes))
        running.process.send_signal(signal.SIGTERM)
        reply = running.ended()
    assert reply.status == 143
    assert ends(pid)
    assert leftovers(vm) == []


def test_a_handler_that_is_ended_while_it_receives_starts_no_program(vm: VM, opener: Callable[..., Any]) -> None:
    notes = opener('echo >"$NOTES"')
    with Running(vm, SERVICE) as running:
        running.send(MESSAGE)
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        reply = running.ended()
    assert reply.status == 143
    assert not notes.exists()
    assert leftovers(vm) == []
