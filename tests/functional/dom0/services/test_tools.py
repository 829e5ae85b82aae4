"""The programs that dom0 runs in VMs are run with their very arguments, and what they say is understood."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.rpcstandin import StandIn
from vminterface.channel.qrexec.client import Qrexec
from vminterface.dom0.services import tools
from vminterface.errors import InvalidValue, RemoteProtocolError, ServiceFailed

# The downloader is called by its path, which a folder cannot stand for: its service is answered by a script.
EXEC = 'case "$1" in -2Fusr-2Flib-2Fqubes-2Fqubes--download*) echo "$1" > {0}/asked; {1};; esac'


@pytest.fixture
def downloader(vms: StandIn) -> Callable[..., Any]:
    def reply(script: Any) -> Any:
        vms.handler("net", "qubes.VMExec", EXEC.format(vms.folder, script))
        return vms.folder / "asked"

    return reply


@pytest.mark.parametrize(("status", "available"), [(100, True), (0, False)])
def test_the_downloader_says_whether_there_are_updates(
    qrexec: Qrexec, downloader: Callable[..., Any], status: int, available: bool
) -> None:
    asked = downloader(rf"printf 'kernel 6.1\n\033[2J\n'; exit {status}")
    found = tools.check_dom0_updates(qrexec, "net")
    assert found == tools.Updates(available, "kernel 6.1\n\\x1b[2J")
    assert asked.read_text().strip().endswith("+----doit+----nogui+----check--only")


def test_any_other_status_of_the_downloader_is_a_failure(qrexec: Qrexec, downloader: Callable[..., Any]) -> None:
    downloader("echo no mirrors >&2; exit 1")
    with pytest.raises(ServiceFailed, match=r"download-dom0-updates\.sh in net: exit status 1: no mirrors"):
        tools.check_dom0_updates(qrexec, "net")


def test_packages_are_asked_for_by_name(qrexec: Qrexec, downloader: Callable[..., Any]) -> None:
    asked = downloader("echo got it")
    assert tools.download_dom0_updates(qrexec, "net", ["tmux"], action=tools.Action.INSTALL, clean=True) == "got it"
    assert asked.read_text().strip().endswith("+----doit+----nogui+----clean+----action-3Dinstall+tmux")


@pytest.mark.parametrize("packages", ["tmux", ["-x"], ["a b"], [""], ["a\n"]])
def test_what_is_no_package_is_refused_before_the_call(qrexec: Qrexec, packages: list[str] | str) -> None:
    with pytest.raises(InvalidValue):
        tools.download_dom0_updates(qrexec, "nobody", packages)


def test_the_date_is_read_strictly(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    assert abs(tools.read_date(qrexec, "work") - datetime.now(UTC)) < timedelta(seconds=5)
    vms.program("work", "date", "echo 2026-01-31T12:00:00+0000")
    assert tools.read_date(qrexec, "work") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    vms.program("work", "date", "echo tomorrow")
    with pytest.raises(RemoteProtocolError, match="date in work: 'tomorrow"):
        tools.read_date(qrexec, "work")


@pytest.mark.parametrize(("status", "up"), [(0, True), (1, False)])
def test_the_network_is_waited_for(vms: StandIn, work: Path, qrexec: Qrexec, status: int, up: bool) -> None:
    vms.program("work", "nm-online", f'[ "$*" = -x ] && exit {status}; exit 9')
    assert tools.wait_for_network(qrexec, "work") is up


def test_a_vm_without_networkmanager_is_told(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    vms.program("work", "nm-online", "exit 2")
    with pytest.raises(ServiceFailed, match="nm-online in work: exit status 2"):
        tools.wait_for_network(qrexec, "work")


@pytest.mark.parametrize(
    ("call", "program", "words"),
    [
        (lambda q: tools.grow_private(q, "work"), "resize2fs", "/dev/xvdb"),
        (lambda q: tools.switch_update_check(q, "work", True), "systemctl", "start qubes-update-check.timer"),
        (lambda q: tools.switch_update_check(q, "work", False), "systemctl", "stop qubes-update-check.timer"),
        (lambda q: tools.show_updates(q, "work"), "gpk-update-viewer", ""),
    ],
)
def test_a_tool_is_run_with_its_arguments_and_its_failure_told(
    vms: StandIn, work: Path, qrexec: Qrexec, call: Callable[..., Any], program: str, words: str
) -> None:
    (vms.folder / "vms/work" / tools.INSTALL_GUI).unlink()  # as in older VMs
    vms.program("work", program, f'echo "$*" > {work}/asked')
    call(qrexec)
    assert (work / "asked").read_text() == f"{words}\n"
    vms.program("work", program, "echo cannot >&2; exit 4")
    with pytest.raises(ServiceFailed, match=f"{program} in work: exit status 4: cannot"):
        call(qrexec)


def test_a_volumes_new_size_is_awaited_before_the_file_system_grows(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    # The third look is the first that sees it.
    vms.program(
        "work", "blockdev", f'echo "$*" >> {work}/looks; [ $(wc -l < {work}/looks) -ge 3 ] && echo 96 || echo 64'
    )
    vms.program("work", "head", f'echo "$*" >> {work}/used')
    vms.program("work", "resize2fs", f'echo "$*" > {work}/asked')
    tools.grow_private(qrexec, "work", size=96)
    assert (work / "looks").read_text() == "--getsize64 /dev/xvdb\n" * 3
    assert (work / "used").read_text() == "-c 512 /dev/xvdb\n" * 2
    assert (work / "asked").read_text() == "/dev/xvdb\n"


def test_a_volume_that_does_not_get_its_new_size_is_left_alone(
    vms: StandIn, work: Path, qrexec: Qrexec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "_PROBES", 2)
    vms.program("work", "blockdev", "echo 64")
    vms.program("work", "resize2fs", f"touch {work}/asked")
    with pytest.raises(ServiceFailed, match=r"resize2fs in work: exit status 1: .*/dev/xvdb has 64 bytes, not yet 96"):
        tools.grow_private(qrexec, "work", size=96)
    vms.program("work", "blockdev", "echo no such device >&2; exit 1")
    with pytest.raises(ServiceFailed, match="resize2fs in work: exit status 1: no such device"):
        tools.grow_private(qrexec, "work", size=96)
    assert not (work / "asked").exists()


@pytest.mark.parametrize("size", [0, -1, True, "4G", 1 << 63])
def test_what_is_no_size_is_refused_before_the_call(qrexec: Qrexec, size: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a valid size of a volume"):
        tools.grow_private(qrexec, "nobody", size=size)


def test_the_service_for_updates_goes_before_the_older_program(vms: StandIn, work: Path, qrexec: Qrexec) -> None:
    vms.handler("work", tools.INSTALL_GUI, f"echo shown > {work}/asked")
    tools.show_updates(qrexec, "work")
    assert (work / "asked").read_text() == "shown\n"
