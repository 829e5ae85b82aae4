"""The applications of a VM in dom0's menu: compared, brought up to date once, and seen to be so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.qubesdesktop import Desktop
from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.ensure.menu import appmenus_synced
from vminterface.dom0.menu import plainmenu
from vminterface.errors import ProgramFailed, VerificationFailed, VMInterfaceError, VMNotRunning
from vminterface.values.change import Change

FIREFOX = """[Desktop Entry]
Name=Firefox
GenericName=Web Browser
Comment=Browse the Web
StartupWMClass=firefox
Categories=Network;WebBrowser;Nonsense;
Exec=firefox %u
Icon=firefox
"""


@pytest.fixture
def template(vms: StandIn) -> Path:
    """The root of a running template with two applications."""
    root = vms.machine("debian-13")
    folder = root / "usr/share/applications"
    folder.mkdir()
    (folder / "firefox.desktop").write_text(FIREFOX)
    (folder / "org.gnome.gedit.desktop").write_text(
        "[Desktop Entry]\nName=Text Editor\nExec=gedit\nCategories=Screensaver;x;\n"
    )
    return root


@pytest.fixture
def desktop(vms: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desktop:
    monkeypatch.setenv("PATH", f"{vms.folder}:{os.environ['PATH']}")
    return Desktop(vms, tmp_path / "desk", monkeypatch)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the menu of a dom0 without Qubes' program."""
    monkeypatch.setenv(plainmenu.FOLDER_VARIABLE, str(tmp_path / "menu"))
    return tmp_path / "menu"


def test_a_new_application_is_a_change_once(qrexec: Qrexec, template: Path, desktop: Desktop) -> None:
    look = appmenus_synced(qrexec, "debian-13")
    assert look.changes == {
        "firefox": Change(None, "Firefox"),
        "org.gnome.gedit": Change(None, "Text Editor"),
    }
    assert look.run(test=True)[1] == "debian-13: the applications in dom0's menu would be brought up to date"
    assert desktop.synced() == []
    assert look.run(test=False) == (look.changes, "debian-13: the applications in dom0's menu brought up to date")
    assert desktop.synced() == ["debian-13"]
    again = appmenus_synced(qrexec, "debian-13")
    assert (again.changes, again.run(test=False)[1]) == ({}, "debian-13: the applications in dom0's menu are the VM's")
    assert desktop.synced() == ["debian-13"]


def test_the_menu_is_that_of_the_desktops_user(qrexec: Qrexec, template: Path, desktop: Desktop) -> None:
    appmenus_synced(qrexec, "debian-13").run(test=False)
    (line,) = (desktop.home / "runuser").read_text().splitlines()
    assert line.startswith(f"-u desk -- env HOME={desktop.home} DISPLAY=:0 /")
    assert line.endswith("/qvm-sync-appmenus debian-13")


def test_what_has_gone_and_what_has_another_text_is_a_change_too(
    qrexec: Qrexec, template: Path, desktop: Desktop
) -> None:
    appmenus_synced(qrexec, "debian-13").run(test=False)
    (desktop.folder("debian-13") / "qubes-start.desktop").write_text("[Desktop Entry]\nName=%VMNAME%: Start\n")
    (template / "usr/share/applications/org.gnome.gedit.desktop").unlink()
    place = template / "usr/share/applications/firefox.desktop"
    place.write_text(FIREFOX.replace("Browse the Web", "See the world"))
    step = appmenus_synced(qrexec, "debian-13")
    assert step.changes == {
        "firefox": Change("Comment: Browse the Web", "Comment: See the world"),
        "org.gnome.gedit": Change("Text Editor", None),
    }
    step.run(test=False)
    assert appmenus_synced(qrexec, "debian-13").changes == {}
    assert (desktop.folder("debian-13") / "qubes-start.desktop").exists()


def test_a_vm_that_offers_none_leaves_the_menu_as_it_is(qrexec: Qrexec, template: Path, desktop: Desktop) -> None:
    appmenus_synced(qrexec, "debian-13").run(test=False)
    for one in (template / "usr/share/applications").iterdir():
        one.unlink()
    step = appmenus_synced(qrexec, "debian-13")
    assert step.changes == {}
    assert step.run(test=False)[1].endswith("unchanged: the VM offers none")


def test_texts_that_are_not_taken_are_counted(vms: StandIn, qrexec: Qrexec, desktop: Desktop) -> None:
    vms.handler("odd", "qubes.GetAppmenus", r"printf 'x.desktop:Name=X\nx.desktop:Comment=a\033[2J\n'")
    assert appmenus_synced(qrexec, "odd").run(test=True)[1].endswith("; 1 texts of the VM are not accepted")


def test_a_program_that_fails_or_does_nothing_is_told(qrexec: Qrexec, template: Path, desktop: Desktop) -> None:
    step = appmenus_synced(qrexec, "debian-13")
    desktop.program("qvm-sync-appmenus", "#!/bin/sh\nprintf 'a\\nno such \\033[2Jqube\\n' >&2; exit 2\n")
    with pytest.raises(ProgramFailed, match=r"qvm-sync-appmenus debian-13: exit status 2: no such \\x1b\[2Jqube"):
        step.run(test=False)
    desktop.program("qvm-sync-appmenus", "#!/bin/sh\n")
    with pytest.raises(VerificationFailed, match="the applications in dom0's menu did not change"):
        step.run(test=False)


def test_without_a_user_there_is_no_menu(
    qrexec: Qrexec, template: Path, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grp.getgrnam", {}.__getitem__)
    with pytest.raises(VMInterfaceError, match="dom0's group 'qubes' has no member"):
        appmenus_synced(qrexec, "debian-13")


def test_a_vm_that_is_not_running_is_an_error(vms: StandIn, qrexec: Qrexec, desktop: Desktop) -> None:
    with pytest.raises(VMNotRunning):
        appmenus_synced(qrexec, "gone")


def test_a_plain_dom0_gets_desktop_files_that_start_the_applications(
    qrexec: Qrexec, template: Path, plain: Path
) -> None:
    step = appmenus_synced(qrexec, "debian-13")
    step.run(test=True)
    assert not plain.exists()
    step.run(test=False)
    assert (plain / "vminterface._debian_d13.firefox.desktop").read_text() == (
        "[Desktop Entry]\nVersion=1.0\nType=Application\nTerminal=false\n"
        "Name=debian-13: Firefox\nGenericName=debian-13: Web Browser\nComment=Browse the Web\n"
        "StartupWMClass=debian-13:firefox\nCategories=Network;WebBrowser;\n"
        "Exec=vminterface call debian-13 qubes.StartApp+firefox\n"
    )
    assert appmenus_synced(qrexec, "debian-13").changes == {}


def test_in_a_plain_dom0_no_vm_touches_the_entries_of_another(
    vms: StandIn, qrexec: Qrexec, template: Path, plain: Path
) -> None:
    appmenus_synced(qrexec, "debian-13").run(test=False)
    (plain / "own.desktop").write_text("")
    before = {path.name: path.stat().st_ino for path in plain.iterdir()}
    for vm in ("debian", "debian-13.x", "debian_13"):
        vms.handler(vm, "qubes.GetAppmenus", "printf 'd13.firefox.desktop:Name=X\\n'")
        appmenus_synced(qrexec, vm).run(test=False)
    assert before.items() <= {path.name: path.stat().st_ino for path in plain.iterdir()}.items()
    assert len(list(plain.iterdir())) == len(before) + 3
    (template / "usr/share/applications/firefox.desktop").unlink()
    assert set(appmenus_synced(qrexec, "debian-13").run(test=False)[0]) == {"firefox"}
    assert not (plain / "vminterface._debian_d13.firefox.desktop").exists()
    assert (plain / "own.desktop").exists()


def test_an_id_too_long_for_a_file_is_passed_over(vms: StandIn, qrexec: Qrexec, plain: Path) -> None:
    vms.handler("odd", "qubes.GetAppmenus", f"printf '{'x' * 400}.desktop:Name=X\\ny.desktop:Name=Y\\n'")
    assert set(appmenus_synced(qrexec, "odd").run(test=False)[0]) == {"y"}
    assert appmenus_synced(qrexec, "odd").changes == {}
