"""VMs that tell a dom0 without qubesd what they can do, by their calls: noted, bounded, and nothing believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dom0 import Dom0
from vminterface.channel.store import Write
from vminterface.dom0.menu import plainmenu
from vminterface.dom0.notices import install, record, services
from vminterface.dom0.push.grants import grant_all
from vminterface.errors import ControlDomain, InvalidValue, ServiceNotFound, VMInterfaceError, VMNotRunning

ROOT = Path(__file__).resolve().parents[4]
MENU = b"firefox.desktop:Name=Firefox\nfirefox.desktop:Comment=Browse\n\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(record.FOLDER_VARIABLE, str(tmp_path / "notices"))
    monkeypatch.setenv(plainmenu.FOLDER_VARIABLE, str(tmp_path / "menu"))
    return tmp_path


@pytest.fixture
def dom0(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dom0]:
    with Dom0(folder / "x") as host:
        host.start_vm("work")
        monkeypatch.setenv("XENSTORED_PATH", host.path)
        yield host


def told(service: str, data: bytes = b"", vm: str = "work", **environment: str) -> None:
    """Let *vm* call *service* with *data*."""
    source, end = os.pipe()
    try:
        os.write(end, data)
        os.close(end)
        services.reply(service, {"QREXEC_REMOTE_DOMAIN": vm, **environment}, source)
    finally:
        os.close(source)


def asks(dom0: Dom0, folder: str, **values: str) -> None:
    """Let the VM called work write *values*, as its handler does."""
    with dom0.targets() as targets:
        grant_all(targets, ["work"])
    with dom0.guest_store("work") as store:
        outcomes = store.batch([Write(f"{folder}/{name}", value.encode("latin-1")) for name, value in values.items()])
    assert outcomes == [None] * len(values)


def test_the_features_that_a_vm_asks_for_are_noted(dom0: Dom0) -> None:
    told("qubes.FeaturesRequest")
    assert record.read("work").features == {}
    asks(dom0, "features-request", **{"os-version": "13", "supported-rpc@qubes@VMExec": "1"})
    told("qubes.FeaturesRequest")
    found = record.read("work")
    assert found.features == {"os-version": "13", "supported-rpc.qubes.VMExec": "1"}
    assert found.features_at.endswith("+00:00")
    assert record.vms() == ["work"]


def test_the_tools_of_an_older_vm_are_noted(dom0: Dom0) -> None:
    asks(dom0, "qubes-tools", qrexec="1", os="Windows", other="x")
    told("qubes.NotifyTools")
    assert record.read("work").features == {"qrexec": "1", "os": "Windows"}


@pytest.mark.parametrize("value", ["\x1b[2J", "a/b", "$(id)", "\xe9"])
def test_one_bad_value_costs_the_whole_request(dom0: Dom0, value: str) -> None:
    asks(dom0, "features-request", os="Linux", other=value)
    with pytest.raises(InvalidValue, match=r"qubes\.FeaturesRequest of work: .* is not a valid value") as caught:
        told("qubes.FeaturesRequest")
    assert str(caught.value).isprintable()
    assert record.vms() == []


def test_too_many_features_are_refused(dom0: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "FEATURES_MAX", 3)
    asks(dom0, "features-request", **{f"x{number}": "1" for number in range(4)})
    with pytest.raises(InvalidValue, match=r"4 keys below features-request are too many \(expected at most 3\)"):
        told("qubes.FeaturesRequest")


def test_whether_there_are_updates_is_noted_beside_the_features(folder: Path) -> None:
    record.write("work", record.Notices({"os": "Linux"}))
    for data, updates in ((b"1\n", True), (b"17", True), (b" 0\n", False)):
        told("qubes.NotifyUpdates", data)
        found = record.read("work")
        assert (found.updates, found.features) == (updates, {"os": "Linux"})


@pytest.mark.parametrize("data", [b"", b"-1", b"many", b"1 2", b"\xb2", b"1" * 11, b"1" * 10_000, b"\x1b[2J"])
def test_what_is_no_number_of_updates_is_refused(folder: Path, data: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"qubes\.NotifyUpdates of work: "):
        told("qubes.NotifyUpdates", data)
    assert record.vms() == []


def test_applications_come_into_the_menu_and_none_leave_it_as_it_is(folder: Path) -> None:
    told("qubes.SyncAppMenus", MENU)
    place = folder / "menu/vminterface._work.firefox.desktop"
    assert "Name=work: Firefox\nComment=Browse\n" in place.read_text()
    told("qubes.SyncAppMenus", b"")
    assert place.exists()
    told("qubes.SyncAppMenus", b"gedit.desktop:Name=Text Editor\n")
    assert [one.name for one in (folder / "menu").iterdir()] == ["vminterface._work.gedit.desktop"]
    for data in (b"gedit.desktop:Exec=gedit\n", b"\xff\xfe\n", b"nothing of the kind\n"):
        with pytest.raises(InvalidValue, match=r"qubes\.SyncAppMenus of work: the input has no application"):
            told("qubes.SyncAppMenus", data)
    assert [one.name for one in (folder / "menu").iterdir()] == ["vminterface._work.gedit.desktop"]


@pytest.mark.parametrize("vm", ["", "../x", "a b", "x" * 32, "a\n"])
def test_a_caller_without_a_name_is_refused(folder: Path, vm: str) -> None:
    with pytest.raises(InvalidValue):
        told("qubes.NotifyUpdates", b"1", vm=vm)
    assert not (folder / "notices").exists()


def test_who_may_not_call_is_refused(folder: Path, dom0: Dom0, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((InvalidValue, ControlDomain)):
        told("qubes.NotifyUpdates", b"1", vm="dom0")
    with pytest.raises(InvalidValue, match="does not accept an argument"):
        told("qubes.NotifyUpdates", b"1", QREXEC_SERVICE_ARGUMENT="x")
    with pytest.raises(VMNotRunning):
        told("qubes.FeaturesRequest", vm="gone")
    with pytest.raises(ServiceNotFound, match=r"qubes\.ReceiveUpdates: not served here"):
        told("qubes.ReceiveUpdates")
    monkeypatch.setattr("vminterface.channel.adminapi.expected", lambda: True)
    with pytest.raises(VMInterfaceError, match="this host has a qubesd"):
        told("qubes.NotifyUpdates", b"1")
    with pytest.raises(VMInterfaceError, match="this host has a qubesd"):
        install.install("/usr/bin/vminterface", str(folder / "rpc"))
    assert not (folder / "notices").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"features": 7}', '{"updates": 1}', '{"features": {"a/b": "1"}}', "{" * 9000]
)
def test_a_record_of_another_form_is_a_fault_that_names_it(folder: Path, text: str) -> None:
    (folder / "notices").mkdir()
    (folder / "notices/work.json").write_text(text)
    with pytest.raises(InvalidValue, match=r"notices/work\.json: not a valid record"):
        record.read("work")


def test_the_programs_are_put_there_and_taken_away(folder: Path) -> None:
    place = folder / "rpc"
    program = "/opt/it has blanks/vminterface"
    assert set(install.install(program, str(place), test=True).values()) == {"installed"}
    assert not place.exists()
    assert install.install(program, str(place)) == dict.fromkeys(services.SERVICES, "installed")
    assert install.install(program, str(place)) == {}
    assert install.install("/usr/bin/vminterface", str(place)) == dict.fromkeys(services.SERVICES, "updated")
    own = place / "qubes.SyncAppMenus"
    own.write_text("#!/bin/sh\n")
    assert install.install("/usr/bin/vminterface", str(place)) == {"qubes.SyncAppMenus": "left unchanged"}
    assert sorted(install.remove(str(place))) == sorted(set(services.SERVICES) - {"qubes.SyncAppMenus"})
    assert [one.name for one in place.iterdir()] == ["qubes.SyncAppMenus"]


def test_an_installed_program_answers_as_qrexec_starts_it(folder: Path) -> None:
    command = folder / "vminterface"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vminterface "$@"\n')
    command.chmod(0o755)
    install.install(str(command), str(folder / "rpc"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "_utils"), "QREXEC_REMOTE_DOMAIN": "work"}

    def run(*argv: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(argv, input=data, env=environment, capture_output=True, timeout=30, check=False)

    done = run(str(folder / "rpc/qubes.NotifyUpdates"), data=b"3\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = run(str(folder / "rpc/qubes.NotifyUpdates"), data=b"\x1b]0;x\x07")
    assert done.returncode == 1
    assert done.stderr.startswith(b"vminterface: qubes.NotifyUpdates of work: '\\x1b]0;x\\x07' is not a valid number")
    assert b"work: updates: yes (" in run(str(command), "notices", "show").stdout
    assert json.loads(run(str(command), "notices", "show", "work", "--json").stdout)["work"]["updates"] is True
    assert run(str(command), "notices", "answer").returncode == 2
