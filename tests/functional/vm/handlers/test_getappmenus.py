"""GetAppmenus on folders of desktop files: what dom0 takes and nothing else, from volumes that survive."""

from __future__ import annotations

import os

import pytest

from tests.support.handlers import VM
from vminterface.values.appmenu import MenuEntries

SERVICE = "qubes.GetAppmenus"
SHARE = "usr/share/applications"
FIREFOX = """[Desktop Entry]
Type=Application
Name=Firefox
Name[pl]=Lis
GenericName = Web Browser
Exec=firefox %u
Icon=firefox
Categories=Network;WebBrowser;

[Desktop Action new]
Name=New Window
Exec=firefox --new-window
"""


def entries(vm: VM, **environment: str) -> dict[str, dict[str, str]]:
    reply = vm.call(SERVICE, b"", **environment)
    assert (reply.status, reply.stderr) == (0, "")
    return {entry.id: dict(entry.values) for entry in MenuEntries.parse(reply.stdout)}


def desktop(name: str, **values: str) -> str:
    lines = {"Name": name, "Exec": "true", **values}
    return "[Desktop Entry]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def test_an_application_is_told_in_lines_with_our_own_command(vm: VM) -> None:
    vm.write(f"{SHARE}/firefox.desktop", FIREFOX)
    assert vm.call(SERVICE).stdout.decode() == (
        "firefox.desktop:Name=Firefox\n"
        "firefox.desktop:GenericName=Web Browser\n"
        "firefox.desktop:Exec=qubes-desktop-run firefox.desktop\n"
        "firefox.desktop:Icon=firefox\n"
        "firefox.desktop:Categories=Network;WebBrowser;\n"
        "\n"
    )


def test_an_answer_has_the_bytes_of_todays_handler_unknown_categories_too(vm: VM) -> None:
    values = {"Exec": "firefox %u", "Icon": "firefox", "Categories": "Network;WebBrowser;Bogus;"}
    vm.write(f"{SHARE}/firefox.desktop", desktop("Firefox", **values))
    reply = vm.call(SERVICE).stdout
    assert reply == (
        b"firefox.desktop:Name=Firefox\nfirefox.desktop:Exec=qubes-desktop-run firefox.desktop\n"
        b"firefox.desktop:Icon=firefox\nfirefox.desktop:Categories=Network;WebBrowser;Bogus;\n\n"
    )
    (entry,) = MenuEntries.parse(reply)
    assert (entry.id, entry.values["Name"], entry.values["Categories"]) == ("firefox", "Firefox", "Network;WebBrowser;")


def test_a_vm_without_applications_tells_none(vm: VM) -> None:
    assert vm.call(SERVICE).stdout == b""


def test_subfolders_become_part_of_the_id(vm: VM) -> None:
    vm.write(f"{SHARE}/kde/office/calc.desktop", desktop("Calc"))
    assert list(entries(vm)) == ["kde-office-calc"]


def test_what_says_so_is_not_shown(vm: VM) -> None:
    vm.write(f"{SHARE}/a.desktop", desktop("A", NoDisplay="true"))
    vm.write(f"{SHARE}/b.desktop", desktop("B", Hidden="true"))
    vm.write(f"{SHARE}/c.desktop", desktop("C", Categories="Screensaver;"))
    vm.write(f"{SHARE}/d.desktop", desktop("D", NoDisplay="false", Categories="Utility;Screensaver;"))
    assert list(entries(vm)) == ["d"]


@pytest.mark.parametrize(
    "values",
    [
        {"Type": "Link"},
        {"Type": "Directory"},
        {"TryExec": "no-such-program"},
        {"TryExec": "/etc/passwd"},
        {"Exec": ""},
        {"Exec": 'run "this'},
    ],
)
def test_what_could_not_be_started_is_not_shown(vm: VM, values: dict[str, str]) -> None:
    vm.write(f"{SHARE}/a.desktop", desktop("A", **values))
    vm.write(f"{SHARE}/b.desktop", desktop("B", Type="Application", TryExec="sh"))
    vm.write(f"{SHARE}/c.desktop", "[Desktop Entry]\nName=C\nDBusActivatable=true\n")
    assert list(entries(vm)) == ["b", "c"]


def test_a_line_that_is_not_read_whole_does_not_count(vm: VM) -> None:
    text = desktop("A", **{"Comment[xx]": ""})
    text += "x" * (65536 - len(text) - len("\nComment=A very")) + "\nComment=A very long one\n"
    vm.write(f"{SHARE}/a.desktop", text)
    assert "Comment" not in entries(vm)["a"]


def test_the_users_own_file_counts_before_the_systems(vm: VM) -> None:
    vm.write(f"{SHARE}/a.desktop", desktop("System"))
    vm.write(f"{SHARE}/b.desktop", desktop("System"))
    vm.write("usr/local/share/applications/b.desktop", desktop("Local"))
    vm.write("data/applications/a.desktop", desktop("Own", NoDisplay="true"))
    told = entries(vm, XDG_DATA_HOME="/data")
    assert {id_: values["Name"] for id_, values in told.items()} == {"b": "Local"}


def test_as_root_the_default_users_applications_are_told(vm: VM) -> None:
    vm.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    vm.write("home/user/.local/share/applications/own.desktop", desktop("Own"))
    assert list(entries(vm, HOME="/root" if os.geteuid() == 0 else "/home/user")) == ["own"]


def test_the_environment_names_other_folders(vm: VM) -> None:
    vm.write("flatpak/share/applications/x.desktop", desktop("X"))
    assert list(entries(vm, XDG_DATA_DIRS="relative:/flatpak/share/:")) == ["x"]


def test_the_vms_own_scripts_call_it_and_nobody_says_who_calls(vm: VM) -> None:
    vm.write("flatpak/share/applications/x.desktop", desktop("X"))
    # As qrexec-client-vm starts the program that answers a service elsewhere.
    reply = vm.call(SERVICE, source=None, QREXEC_AGENT_PID="7", XDG_DATA_DIRS="/flatpak/share")
    assert (reply.status, reply.stderr) == (0, "")
    assert reply.stdout == b"x.desktop:Name=X\nx.desktop:Exec=qubes-desktop-run x.desktop\n\n"


@pytest.mark.parametrize(("persistence", "shown"), [("full", ["a"]), ("rw-only", ["a"]), ("none", []), (None, ["a"])])
def test_only_what_survives_the_vms_shutdown_is_told(vm: VM, persistence: str | None, shown: list[str]) -> None:
    vm.write(f"{SHARE}/a.desktop", desktop("A"))
    (vm.root / "rw").mkdir()  # on the same device as all the rest here
    if persistence:
        vm.write(f"run/qubes/persistent-{persistence}")
    assert list(entries(vm)) == shown


def test_where_there_is_no_private_volume_it_holds_no_applications(vm: VM) -> None:
    vm.write(f"{SHARE}/a.desktop", desktop("A"))
    vm.write("run/qubes/persistent-rw-only")
    assert entries(vm) == {}


def test_what_dom0_would_refuse_is_left_out(vm: VM) -> None:
    vm.write(f"{SHARE}/a.desktop", desktop("A;B", Comment="zażółć", Icon="a b", GenericName="x" * 1100, Exec="a"))
    vm.write(f"{SHARE}/c.desktop", desktop("Fine", Comment="tab\there\x1b[0m"))
    assert entries(vm) == {
        "a": {"Name": "AB", "Comment": "zazolc", "Exec": "qubes-desktop-run a.desktop"},
        "c": {"Name": "Fine", "Exec": "qubes-desktop-run c.desktop"},
    }


def test_applications_that_are_left_out_are_named_beside_the_answer(vm: VM) -> None:
    vm.write(f"{SHARE}/a b.desktop", desktop("X"))
    vm.write(f"{SHARE}/ż.desktop", desktop("X"))
    vm.write(f"{SHARE}/fine.desktop", desktop("Fine"))
    reply = vm.call(SERVICE)
    fine = b"fine.desktop:Name=Fine\nfine.desktop:Exec=qubes-desktop-run fine.desktop\n\n"
    assert (reply.status, reply.stdout) == (0, fine)
    reason = "the file name has characters that dom0 does not accept"
    assert reply.stderr == (f"qubes.GetAppmenus: left out: a b.desktop: {reason}; \\u017c.desktop: {reason}\n")
    for number in range(10):
        vm.write(f"{SHARE}/{number} x.desktop", desktop("X"))
    assert vm.call(SERVICE).stderr.endswith("; and 7 more\n")


def test_what_is_no_desktop_file_is_passed_over(vm: VM) -> None:
    vm.write(f"{SHARE}/good.desktop", desktop("Good"))
    vm.write(f"{SHARE}/empty.desktop")
    vm.write(f"{SHARE}/binary.desktop", bytes(range(256)) * 100)
    vm.write(f"{SHARE}/other.desktop", "[Other]\nName=x\n")
    vm.write(f"{SHARE}/readme.txt", desktop("Text"))
    (vm.root / SHARE / "folder.desktop").mkdir()
    (vm.root / SHARE / "nowhere.desktop").symlink_to("/nonexistent")
    (vm.root / SHARE / "loop").symlink_to(".")
    os.mkfifo(vm.root / SHARE / "pipe.desktop")
    assert list(entries(vm)) == ["good"]


def test_folders_without_end_are_not_followed(vm: VM) -> None:
    deep = SHARE + "/d" * 40
    vm.write(f"{deep}/x.desktop", desktop("X"))
    assert entries(vm) == {}


def test_the_answer_stays_below_dom0s_limits(vm: VM) -> None:
    text = desktop("App", Exec="x", Icon="x", Comment="x", GenericName="x", Categories="Utility;", StartupWMClass="x")
    for number in range(13_000):
        vm.write(f"{SHARE}/app{number}.desktop", text)
    reply = vm.call(SERVICE)
    assert reply.stdout.count(b"\n") < 100_000
    assert len(MenuEntries.parse(reply.stdout)) > 12_000
