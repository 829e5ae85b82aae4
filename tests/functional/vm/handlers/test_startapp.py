"""StartApp on folders of desktop files: whatever GetAppmenus lists is started, by its own rules, and lives on."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agentcall import Running, ends, is_there, within
from tests.support.handlers import VM, Reply
from vminterface.values.appmenu import MenuEntries
from vminterface.vm.handlers import startapp
from vminterface.vm.handlers.desktop import run
from vminterface.vm.handlers.desktop.terminal import TERMINALS

SERVICE = "qubes.StartApp"
SHARE = "usr/share/applications"
#: Tells how it was started: its words, each in brackets, and where.
LOG = 'for word in "${0##*/}" "$@"; do printf "[%s]" "$word"; done >>"$NOTES"; echo " in $PWD" >>"$NOTES"\n'


@pytest.fixture
def vm(vm: VM) -> VM:
    program(vm, "app", LOG)
    return vm


def program(vm: VM, name: str, script: str) -> Path:
    return vm.write(f"bin/{name}", f"#!/bin/sh\nNOTES={vm.root}/notes\n{script}\n", 0o755)


def notes(vm: VM) -> list[str]:
    """Return the lines that programs have noted since the last time."""
    place = vm.root / "notes"
    lines = place.read_text().splitlines() if place.exists() else []
    place.unlink(missing_ok=True)
    return lines


def desktop(vm: VM, id_: str = "a", folder: str = SHARE, **values: str) -> Path:
    lines = {"Type": "Application", "Name": "My App", "Exec": f"app {id_}", **values}
    text = "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())
    return vm.write(f"{folder}/{id_}.desktop", text)


def environment(vm: VM, *, alone: bool = False) -> dict[str, str]:
    """Return the user's; *alone*: with no programs but the VM's own and those of a shell."""
    if not alone:
        return {"PATH": f"{vm.root}/bin:{os.environ['PATH']}"}
    for tool in ("sleep", "cat", "env"):
        if not (vm.root / "bin" / tool).exists():
            program(vm, tool, f'exec {shutil.which(tool)} "$@"')
    return {"PATH": f"{vm.root}/bin"}


def start(vm: VM, id_: str = "a", *, alone: bool = False, **more: str) -> Reply:
    given = {**environment(vm, alone=alone), **more}
    return vm.call(SERVICE, b"", *([id_] if id_ else []), QREXEC_SERVICE_ARGUMENT=id_, **given)


def started(vm: VM, id_: str = "a", *, alone: bool = False, **more: str) -> list[str]:
    reply = start(vm, id_, alone=alone, **more)
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    return notes(vm)


def refused(vm: VM, id_: str = "a", *, alone: bool = False, **more: str) -> str:
    reason = start(vm, id_, alone=alone, **more).refused(SERVICE)
    assert notes(vm) == []
    return reason


def test_every_id_that_is_listed_is_started_and_by_the_file_that_is_listed(vm: VM) -> None:
    own = "home/user/.local/share/applications"
    for id_, folder in (
        *((id_, SHARE) for id_ in ("firefox", "office/calc", "deep/er/app", "org.example.Tool-x_1", "hidden")),
        *((id_, own) for id_ in ("own", "sub/own", "firefox")),
        ("local", "usr/local/share/applications"),
        # The same id twice in one folder.
        ("office-calc", SHARE),
    ):
        name = f"{id_} of {folder}"
        more = {"NoDisplay": "true"} if id_ == "hidden" else {}
        desktop(vm, id_, folder, Name=name, Exec=f'app "{name}" %u', **more)
    reply = vm.call("qubes.GetAppmenus", b"", **environment(vm))
    listed = {entry.id: entry.values["Name"] for entry in MenuEntries.parse(reply.stdout)}
    assert sorted(listed) == [
        "deep-er-app", "firefox", "local", "office-calc", "org.example.Tool-x_1", "own", "sub-own",
    ]  # fmt: skip
    assert listed["firefox"] == f"firefox of {own}"
    for id_, name in listed.items():
        assert started(vm, id_) == [f"[app][{name}] in {os.getcwd()}"]


def test_what_no_menu_shows_is_started_too(vm: VM) -> None:
    """The tray asks for some of these."""
    desktop(vm, NoDisplay="true")
    assert started(vm) == [f"[app][a] in {os.getcwd()}"]


def test_the_command_line_is_taken_apart_and_filled_in(vm: VM) -> None:
    line = r"""app "a b" --file=%f %u "\\$HOME" 'c d' %%U %i %c %k x\\\\y %F"""
    path = desktop(vm, Exec=line, Icon="firefox", **{"Name[pl]": "Moja", "Name[pl_PL]": "Moja własna"})
    words = f"[app][a b][--file=][$HOME][c d][%U][--icon][firefox][My App][{path}][x\\y]"
    assert started(vm) == [f"{words} in {os.getcwd()}"]
    for locale, name in (("pl_PL.UTF-8", "Moja własna"), ("pl", "Moja"), ("pl@x", "Moja"), ("de", "My App")):
        assert f"[{name}]" in started(vm, LANG=locale)[0]
    assert "[Moja]" in started(vm, LC_ALL="pl", LANG="de")[0]


def test_it_starts_in_the_folder_of_its_file(vm: VM) -> None:
    folder = vm.root / "srv/a folder"
    folder.mkdir(parents=True)
    desktop(vm, Path="/srv/a\\sfolder")
    assert started(vm) == [f"[app][a] in {folder}"]


def test_an_application_of_a_terminal_is_shown_in_the_one_that_the_admin_names(vm: VM) -> None:
    vm.write("etc/vminterface/terminal-command", "# the one\nterminal '--a b' -e\n")
    program(vm, "terminal", LOG)
    desktop(vm, Terminal="true", Exec='app "x y"')
    assert started(vm) == [f"[terminal][--a b][-e][app][x y] in {os.getcwd()}"]
    vm.write("etc/vminterface/terminal-command", "\n")
    assert refused(vm) == "/etc/vminterface/terminal-command does not name a program"


def test_else_the_first_terminal_that_is_there_shows_it(vm: VM) -> None:
    desktop(vm, Terminal="true", Exec="app")
    looked = ", ".join(terminal[0] for terminal in TERMINALS)
    assert refused(vm, alone=True) == f"no terminal emulator is installed (expected one of {looked})"
    for name, *options in reversed(TERMINALS):
        program(vm, name, LOG)
        words = "".join(f"[{word}]" for word in (name, *options, "app"))
        assert started(vm, alone=True) == [f"{words} in {os.getcwd()}"]


def test_what_an_admin_has_overridden_counts(vm: VM) -> None:
    desktop(vm)
    folder = "etc/qubes/applications/a.desktop.d"
    vm.write(f"{folder}/30_distribution.conf", "[Desktop Entry]\nExec=app one\nPath=/nowhere\n")
    vm.write(f"{folder}/50_admin.conf", "[Desktop Entry]\nPath=\n[Other]\nExec=app other\n")
    assert started(vm) == [f"[app][one] in {os.getcwd()}"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Type": "Link"}, "its type is Link (expected Application)"),
        ({"Hidden": "true"}, "it is marked as removed (Hidden=true)"),
        ({"TryExec": "no-such-program"}, "no-such-program is not installed (TryExec)"),
        ({"Exec": ""}, "it has neither a command line (Exec) nor DBusActivatable=true"),
        ({"Exec": 'app "x'}, "Exec: 'app \"x' is not a valid command line (a quote is not closed)"),
        ({"Exec": "%u"}, "Exec: '%u' does not name a program"),
        ({"Exec": "no-such-program %u"}, "the program no-such-program is not installed"),
        ({"Path": "/no/such"}, "its working folder /no/such (Path) is not a folder"),
        ({"Path": "here"}, "its working folder here (Path) is not a folder"),
    ],
)
def test_what_keeps_an_application_from_being_started_is_told(vm: VM, values: dict[str, str], reason: str) -> None:
    desktop(vm, **values)
    assert refused(vm) == f"/{SHARE}/a.desktop: {reason}"


def test_an_id_that_nothing_has_is_told_with_the_folders(vm: VM) -> None:
    desktop(vm, "b")
    reason = refused(vm)
    folders = ("/home/user/.local", "/usr/local", "/usr")
    looked = ", ".join(f"{folder}/share/applications" for folder in folders)
    assert reason == f"the application a does not exist (searched {looked})"
    assert "needs the id of an application as argument" in refused(vm, "")
    assert "does not exist" in refused(vm, "a" * 60000)
    for id_ in ("../a", "a b", "/a", "a\n"):
        assert "is not a valid service argument" in refused(vm, id_)


def test_what_is_no_file_is_not_waited_for(vm: VM) -> None:
    (vm.root / SHARE / "folder.desktop").mkdir(parents=True)
    os.mkfifo(vm.root / SHARE / "pipe.desktop")
    (vm.root / SHARE / "loop.desktop").symlink_to("loop.desktop")
    assert refused(vm, "folder") == f"/{SHARE}/folder.desktop: is a folder (expected a regular file)"
    assert refused(vm, "pipe") == f"/{SHARE}/pipe.desktop: is a named pipe (expected a regular file)"
    assert refused(vm, "loop").startswith(f"/{SHARE}/loop.desktop: ")


def test_one_that_fails_at_once_is_told_and_where_its_messages_are(vm: VM) -> None:
    program(vm, "app", "echo no display >&2; exit 7")
    desktop(vm)
    assert refused(vm) == "app ended with status 7 at once (in the VM, 'journalctl -t a' has its messages)"


def test_what_it_ends_with_later_is_the_users_affair(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    program(vm, "app", f"{LOG} exit 7")
    desktop(vm)
    monkeypatch.setattr(run, "MOMENTS", 0.0)
    for name, value in {**environment(vm), "HOME": "/home/user"}.items():
        monkeypatch.setenv(name, value)
    with within(vm, SERVICE, b"", "a") as (call, _):
        startapp.handle(call)
    assert len(notes(vm)) == 1


@pytest.fixture
def journal() -> Iterator[tuple[VM, socket.socket]]:
    """Give a VM with a journal of ours; the path of a socket may have 107 bytes."""
    top = Path(tempfile.mkdtemp(prefix="vmi-", dir="/tmp"))
    try:
        one = VM(top / "vm")
        (one.root / "run/systemd/journal").mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(one.root / "run/systemd/journal/stdout"))
            listening.listen()
            listening.settimeout(20)
            yield one, listening
    finally:
        shutil.rmtree(top)


def test_what_it_says_goes_to_the_journal_alone(journal: tuple[VM, socket.socket]) -> None:
    vm, listening = journal
    program(vm, "app", "cat; echo out; echo err >&2")
    desktop(vm)
    reply = vm.call(SERVICE, b"not for it", "a", **environment(vm))
    assert (reply.status, reply.stdout, reply.stderr) == (0, b"", "")
    connection, _ = listening.accept()
    with connection, connection.makefile() as lines:
        assert lines.read() == "a\n\n6\n0\n0\n0\n0\nout\nerr\n"


def test_it_lives_on_when_the_caller_goes_and_when_the_handler_is_ended(vm: VM) -> None:
    program(vm, "app", 'echo $$ >"$NOTES.new"; mv "$NOTES.new" "$NOTES"; exec sleep 60')
    desktop(vm)
    with Running(vm, SERVICE, "a", **environment(vm)) as running:
        limit = time.monotonic() + 20
        while not (vm.root / "notes").exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        (line,) = notes(vm)
        app = int(line)
        running.hang_up()
        assert running.process.poll() is None
        running.process.terminate()
        assert running.process.wait(20) == 143
    try:
        assert is_there(app)
    finally:
        os.kill(app, 9)


def key_of(id_: str) -> str:
    return f"/hash-app-dispvm/{base64.urlsafe_b64encode(hashlib.sha256(id_.encode()).digest()).decode().rstrip('=')}"


@pytest.mark.parametrize("key", [key_of("a"), "/qubes-service/app-dispvm.a"])
def test_files_are_opened_in_disposables_where_dom0_says_so(vm: VM, key: str) -> None:
    program(vm, "qubesdb-read", f'[ "$1" = {key} ] || exit 2; echo a')
    program(vm, "app", 'echo "$XDG_DATA_DIRS,$XDG_DATA_HOME,$GNOME_DESKTOP_SESSION_ID" >>"$NOTES"')
    for id_ in ("a", "b"):
        desktop(vm, id_, "data/applications")
    given = {"XDG_DATA_DIRS": "/data", "XDG_DATA_HOME": "/own", "GNOME_DESKTOP_SESSION_ID": "x"}
    assert "expected /usr/share/qubes/xdg-override" in refused(vm, alone=False, **given)
    (vm.root / "usr/share/qubes/xdg-override").mkdir(parents=True)
    assert started(vm, alone=False, **given) == ["/usr/share/qubes/xdg-override,,"]
    assert started(vm, "b", alone=False, **given) == ["/data,/own,x"]
    # The bus would give it another environment.
    program(vm, "busctl", LOG)
    desktop(vm, "a", "data/applications", DBusActivatable="true")
    assert started(vm, alone=False, **given) == ["/usr/share/qubes/xdg-override,,"]


def test_a_key_with_another_id_is_another_applications(vm: VM) -> None:
    program(vm, "qubesdb-read", f'[ "$1" = {key_of("a")} ] || exit 2; echo b')
    desktop(vm)
    assert len(started(vm)) == 1


BUS = """case "$*" in
"--user --timeout=25 call org.example.App /org/example/App org.freedesktop.Application Activate a{sv} 0")
    sleep 0.3 & echo $! >"$NOTES.pid"; echo activated >>"$NOTES" ;;
*"GetConnectionUnixProcessID s org.example.App") echo "u $(cat "$NOTES.pid")" ;;
*) exit 9 ;;
esac"""


def test_the_bus_starts_what_asks_for_it_and_its_end_is_awaited(vm: VM) -> None:
    desktop(vm, "org.example.App", DBusActivatable="true")
    program(vm, "busctl", BUS)
    assert started(vm, "org.example.App") == ["activated"]
    assert ends(int(vm.read("notes.pid")))


def test_what_the_bus_does_not_start_is_run_by_its_command_line(vm: VM) -> None:
    desktop(vm, "org.example.App", DBusActivatable="true")
    program(vm, "busctl", "echo 'Call failed: no such name' >&2; exit 1")
    assert started(vm, "org.example.App") == [f"[app][org.example.App] in {os.getcwd()}"]
    desktop(vm, "org.example.App", DBusActivatable="true", Exec="")
    reason = refused(vm, "org.example.App")
    assert "the session bus does not start it, and it has no Exec" in reason
    assert reason.endswith("Call failed: no such name")
    desktop(vm, "plain", DBusActivatable="true")
    assert len(started(vm, "plain")) == 1


@pytest.mark.parametrize("reply", ["", "u", "u -1", "s 5", "u 99999999999", "u 5 6"])
def test_a_bus_that_says_something_else_is_not_believed(vm: VM, reply: str) -> None:
    desktop(vm, "org.example.App", DBusActivatable="true", Exec="")
    program(vm, "busctl", f"case \"$*\" in *Activate*) ;; *) echo '{reply}' ;; esac")
    assert "is not the number of a process" in refused(vm, "org.example.App")
